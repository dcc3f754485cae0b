"""Runs the rows: every contestant once per round, in turn, and the next round only then."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bench import backends, held, rows, stats
from bench.backends import Address, Family
from bench.contestants import BASELINE, Contestant
from bench.contestants.base import Hop, Job
from bench.held import Held
from bench.loads import Loads, ParseError, Throughput, parse_wrk
from bench.machine import Cores
from bench.processes import Process, StartError
from bench.rows import Row, RowKey

HOPS_RATE = 1000.0
"""Requests per second of the two-hop row: low, so that it compares ways and not queues."""
RATE_WITHOUT_BASELINE = 10_000.0
SETTLE_S = 1.0
"""How long the started proxies are left alone before anything is measured: their start is in no figure."""
_SAMPLE_S = 0.1
"""Between looks at memory, of which the highest counts."""

_PACKAGES = {
    "wrk": "apt-get install wrk",
    "h2load": "apt-get install nghttp2-client",
    "nginx": "apt-get install nginx-light",
    "nghttpd": "apt-get install nghttp2-server",
}

_ONE_HOP: tuple[Hop, ...] = ("first",)
_TWO_HOPS: tuple[Hop, ...] = ("second", "first")
"""In the order of starting: each forwards to the one before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One measurement in the row's base unit; `busy` is the share of its core that the proxy used."""

    value: float
    errors: int = 0
    busy: float | None = None


Measured = TypeVar("Measured")

Results = dict[RowKey, dict[str, list[Sample]]]
"""Samples by row and contestant's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    contestants: tuple[Contestant, ...]
    rows: tuple[Row, ...]
    rounds: int
    seconds: int
    """Of each measurement."""
    cores: Cores
    folder: Path
    open_files: int
    """That a process may have."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A contestant that runs: where to send, and the processes of its chain (none for no proxy)."""

    name: str
    address: Address
    processes: tuple[Process, ...]

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes)

    def rss_bytes(self) -> int:
        return sum(process.rss_bytes() for process in self.processes)


class Runner:
    """Carries a plan out. `skipped` says what could not be measured, and why."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.results: Results = {}
        self.skipped: list[str] = []
        self._loads = Loads(plan.cores.load, plan.folder, plan.seconds)
        self._measures: dict[RowKey, Callable[[Target], Sample]] = {
            "small": lambda target: self._throughput(target, self._loads.small),
            "post": lambda target: self._throughput(target, self._loads.post),
            "large": lambda target: self._bytes(target),
            "grpc": lambda target: self._throughput(target, self._grpc),
            "p99": lambda target: self._p99(target),
            "hops": lambda target: self._p50(target),
            "live": lambda target: self._live_memory(target),
            "idle": lambda target: Sample(target.rss_bytes()),
            "workers": lambda target: Sample(target.rss_bytes()),
            "per_idle": lambda target: Sample(self._held(target, "http1").bytes_each),
            "per_idle_h2": lambda target: self._held_h2(target),
            "beside": lambda target: self._beside(target),
            "held": lambda target: self._still_held(target),
        }
        self._holding: dict[Target, Held] = {}

    def run(self) -> None:
        self._phase("http1", (rows.IDLE, rows.LIVE), _ONE_HOP)
        self._phase("http1", (rows.WORKERS,), _ONE_HOP, workers=rows.WORKERS_AT_ONCE)
        # The last row asks whether the connections of the first are alive.
        self._phase("http1", (rows.PER_IDLE, rows.BESIDE, rows.HELD), _ONE_HOP)
        self._phase("h2", (rows.PER_IDLE_H2,), _ONE_HOP)
        self._phase("http1", (rows.SMALL, rows.POST, rows.LARGE, rows.P99), _ONE_HOP)
        self._phase("h2", (rows.GRPC,), _ONE_HOP)
        self._phase("http1", (rows.HOPS,), _TWO_HOPS)

    def rate(self) -> float:
        """Requests per second of the p99 row: half of what Envoy reached in this run, where it was measured."""
        samples = self.results.get("small", {}).get(BASELINE)
        return stats.median([sample.value for sample in samples]) / 2 if samples else RATE_WITHOUT_BASELINE

    def _phase(self, family: Family, wanted: tuple[Row, ...], hops: tuple[Hop, ...], workers: int = 1) -> None:
        """Rows that the same started processes serve."""
        chosen = [row for row in wanted if row in self.plan.rows and self._is_possible(row)]
        if not chosen:
            return
        try:
            backend, address = backends.start(family, self.plan.cores.load, self._folder())
        except StartError as error:
            self.skipped.append(f"{', '.join(row.title for row in chosen)}: {error}")
            return
        with backend, self._running(family, hops, address, workers) as targets:
            for row in chosen:
                self._row(row, targets)

    def _is_possible(self, row: Row) -> bool:
        if row in (rows.PER_IDLE, rows.BESIDE, rows.HELD) and self.plan.open_files < held.DESCRIPTORS:
            few = f"{self.plan.open_files:,} open files are allowed, {held.DESCRIPTORS:,} are needed (ulimit -Hn)"
            self.skipped.append(f"{row.title}: {few}")
            return False
        tools = [tool for tool in (row.tool, backends.tool_of(row.family)) if tool]
        missing = [f"{tool} ({_PACKAGES[tool]})" for tool in tools if not shutil.which(tool)]
        if missing:
            self.skipped.append(f"{row.title}: not installed: {', '.join(missing)}")
        return not missing

    @contextlib.contextmanager
    def _running(self, family: Family, hops: tuple[Hop, ...], backend: Address, workers: int) -> Iterator[list[Target]]:
        with contextlib.ExitStack() as stack:
            targets = []
            for contestant in self.plan.contestants:
                if family not in contestant.families or workers > contestant.most_workers:
                    continue
                try:
                    targets.append(self._start(contestant, family, hops, backend, workers, stack))
                except StartError as error:
                    self.skipped.append(f"{contestant.name} ({family}): {error}")
            stack.callback(self._let_go)
            time.sleep(SETTLE_S)
            yield targets

    def _start(
        self,
        contestant: Contestant,
        family: Family,
        hops: tuple[Hop, ...],
        backend: Address,
        workers: int,
        stack: contextlib.ExitStack,
    ) -> Target:
        upstream, processes = backend, []
        for hop in hops:
            job = Job(family, upstream, hop, self.plan.cores.proxy, self._folder(), workers)
            started = contestant.start(job)
            upstream = started.address
            if started.process is not None:
                stack.callback(started.process.stop)
                processes.append(started.process)
        return Target(contestant.name, upstream, tuple(processes))

    def _row(self, row: Row, targets: list[Target]) -> None:
        samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
        if row.once:
            targets = [target for target in targets if target.processes]
        for number in range(1 if row.once else self.plan.rounds):
            for target in list(targets):
                print(f"{row.title}: round {number + 1}, {target.name}", file=sys.stderr, flush=True)
                try:
                    samples[target.name].append(self._measures[row.key](target))
                except (StartError, ParseError) as error:
                    self.skipped.append(f"{row.title}, {target.name}: {error}")
                    targets.remove(target)
        self.results[row.key] = {name: taken for name, taken in samples.items() if taken}

    def _throughput(self, target: Target, load: Callable[[Address], Throughput]) -> Sample:
        measured, busy = self._with_busy(target, lambda: load(target.address))
        return Sample(measured.requests, measured.errors, busy)

    def _bytes(self, target: Target) -> Sample:
        measured, busy = self._with_busy(target, lambda: self._loads.large(target.address))
        return Sample(measured.bytes, measured.errors, busy)

    def _grpc(self, address: Address) -> Throughput:
        return self._loads.grpc(address, backends.grpc_message())

    def _p99(self, target: Target) -> Sample:
        rate = self.rate()
        measured, busy = self._with_busy(target, lambda: self._loads.at_rate(target.address, rate))
        return Sample(measured.p99_s, measured.lost, busy)

    def _p50(self, target: Target) -> Sample:
        measured, busy = self._with_busy(target, lambda: self._loads.at_rate(target.address, HOPS_RATE))
        return Sample(measured.p50_s, measured.lost, busy)

    def _live_memory(self, target: Target) -> Sample:
        """The most that it takes while the connections send as fast as they can."""
        peak = 0
        with self._loads.many_connections(target.address) as load:
            while load.running():
                peak = max(peak, target.rss_bytes())
                time.sleep(_SAMPLE_S)
            return Sample(peak, parse_wrk(load.output()).errors)

    def _held(self, target: Target, family: Family) -> Held:
        """Idle connections through a target, held until the phase ends."""
        if target not in self._holding:
            cores, folder = self.plan.cores, self._folder()
            self._holding[target] = held.hold(target.address, family, cores.load, folder, target.rss_bytes)
        return self._holding[target]

    def _let_go(self) -> None:
        for holding in self._holding.values():
            holding.client.stop()
        self._holding.clear()

    def _held_h2(self, target: Target) -> Sample:
        holding = self._held(target, "h2")
        return Sample(holding.bytes_each, holding.failed + holding.lost())

    def _beside(self, target: Target) -> Sample:
        if target.processes:
            self._held(target, "http1")
        return self._throughput(target, self._loads.small)

    def _still_held(self, target: Target) -> Sample:
        holding = self._held(target, "http1")
        return Sample(holding.rss_bytes, holding.failed + holding.lost())

    def _with_busy(self, target: Target, load: Callable[[], Measured]) -> tuple[Measured, float | None]:
        before, start = target.cpu_seconds(), time.monotonic()
        measured = load()
        used = target.cpu_seconds() - before
        return measured, used / (time.monotonic() - start) if target.processes else None

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.plan.folder))
