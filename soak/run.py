"""One soak: warm up, look, load with trouble, look again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from random import Random

from demo.processes import ChildError
from soak.http1 import PIPELINED
from soak.http2 import STREAMS
from soak.leaks import Sample, Watched, is_idle, read_process, read_sample
from soak.ledger import GRPC, HTTP, TCP, Ledger, executed_twice
from soak.load import COUNTS, WEBSOCKETS, Load
from soak.trouble import Trouble
from soak.world import CALLER, KINDS, World

INSTANCES = 2
WARM_UP_SHARE = 0.25
WARM_UP_S = 120.0
"""At most."""
SAMPLE_EVERY_S = 1.0
IDLE_S = 20.0
"""Longest until nothing is left of the clients, once they are gone."""
WITH_WORKERS = (HTTP, CALLER, GRPC, TCP)
"""Drawn by the seed."""
MOST_AT_ONCE = sum(COUNTS.values()) * max(STREAMS, PIPELINED) + WEBSOCKETS


class Soak:
    """`run` is all of it; then the rest says how it went."""

    def __init__(self, world: World, seed: int) -> None:
        self.ledger = Ledger()
        self.findings: list[str] = []
        self.watched: list[Watched] = []
        self.trouble: Trouble | None = None
        self._world = world
        self._seed = seed
        self.with_workers = WITH_WORKERS[seed % len(WITH_WORKERS)]
        """Whose sidecar has workers: the caller's, or the one of a service's instance that stays."""

    async def run(self, seconds: float) -> None:
        """`seconds` under load, and the time to start and to look."""
        world = self._world
        await world.start(INSTANCES, self.with_workers)
        # One instance of each service stays; its sidecar and the caller's are those that are watched.
        kept = frozenset(next(pod.name for pod in world.pods if pod.service == service) for service in KINDS)
        self.watched = [Watched(name) for name in (CALLER, *sorted(kept))]
        trouble = self.trouble = Trouble(world, self.ledger, Random(f"{self._seed} trouble"), kept)
        warm_up = min(seconds * WARM_UP_SHARE, WARM_UP_S)
        await self._load("warm up", warm_up, trouble)
        for watched in self.watched:
            watched.before = await self._idle(watched.name)
            watched.under_load.clear()
        await self._load("load", seconds - warm_up, trouble)
        for watched in self.watched:
            watched.after = await self._idle(watched.name)
        self._judge()

    def _judge(self) -> None:
        ledger = self.ledger
        self.findings += ledger.wrong
        self.findings += [f"at {at:.1f} s, unexplained: {seen}" for at, seen in ledger.unexplained]
        self.findings += [f"executed twice: {number}" for number in executed_twice(self._world.executed)]
        for watched in self.watched:
            self.findings += watched.findings(MOST_AT_ONCE)

    async def _load(self, name: str, seconds: float, trouble: Trouble) -> None:
        world, over = self._world, asyncio.Event()
        ports = {service: await world.outbound(service) for service in KINDS}
        load = Load(self.ledger, ports, await world.proxy(), name, self._seed)
        load.start()
        sampling = asyncio.create_task(self._sample())
        making = asyncio.create_task(self._noting("trouble", trouble.make(over)))
        await asyncio.wait((making,), timeout=seconds)
        over.set()
        await making
        await self._noting("clients", load.stop())
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling

    async def _noting(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except (ChildError, TimeoutError) as error:
            self.findings.append(f"{what}: {type(error).__name__}: {error}")

    async def _sample(self) -> None:
        while True:
            for watched in self.watched:
                watched.under_load.append(await self._read(watched.name))
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _idle(self, name: str) -> Sample:
        """How a sidecar is when all clients are gone; that it becomes so is part of what is tested."""
        sample = await self._read(name)
        try:
            async with asyncio.timeout(IDLE_S):
                while not is_idle(sample, name):
                    await asyncio.sleep(SAMPLE_EVERY_S)
                    sample = await self._read(name)
        except TimeoutError:
            self.findings.append(
                f"{name}: {IDLE_S:g} s after all clients left: {dict(sample.downstream)}, {sample.live} live"
            )
        return sample

    async def _read(self, name: str) -> Sample:
        page, workers = await self._world.metrics(name), await self._world.workers(name)
        return read_sample(page, {f"worker {number}": read_process(pid) for number, pid in workers.items()})
