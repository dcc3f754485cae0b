"""A worker that does not answer, does not come up, or cannot listen, as the parent deals with it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest

from remora.model.names import ServiceName
from remora.model.shares import QuotaKey
from remora.model.snapshot import Snapshot
from remora.sidecar.listener.listener import ListenError
from remora.sidecar.upstream.health import Member
from remora.sidecar.workers.counts import Taken
from remora.sidecar.workers.messages import (
    Configure,
    Failed,
    FromParent,
    FromWorker,
    Message,
    Report,
    Tell,
    Up,
    encode,
)
from remora.sidecar.workers.seat import KILL_TICKS, SILENT_TICKS, Seat
from tests.support.waiting import until


class Worker:
    """A process that does nothing; the test speaks for it."""

    def __init__(self, process: asyncio.subprocess.Process, end: socket.socket) -> None:
        self.process = process
        self._end = end
        self._decoder = msgspec.msgpack.Decoder(FromParent)

    def say(self, message: FromWorker) -> None:
        data = encode(message)
        self._end.sendall(len(data).to_bytes(4) + data)

    async def hear(self) -> Message:
        """What the parent says next."""
        loop = asyncio.get_running_loop()
        size = int.from_bytes(await loop.sock_recv(self._end, 4))
        return self._decoder.decode(await loop.sock_recv(self._end, size))

    async def ended(self) -> int:
        status = await self.process.wait()
        self._end.close()
        return status


class Nursery:
    """Starts such workers."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    async def fork(self, number: int, end: socket.socket) -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
        theirs = end.dup()
        theirs.setblocking(False)
        self.workers.append(Worker(process, theirs))
        return process.pid

    async def reap(self, pid: int) -> int:
        (worker,) = [worker for worker in self.workers if worker.process.pid == pid]
        return abs(await worker.process.wait())


class Owner:
    def configuration(self) -> bytes:
        return encode(Configure(Snapshot(), ()))

    def failing(self) -> list[tuple[Member, str]]:
        return []

    def on_asked(self, seat: Seat, service: ServiceName) -> None: ...

    def on_report(self, counts: Taken, used: tuple[ServiceName, ...]) -> None: ...

    def on_wanted(self, seat: Seat, wanted: Mapping[QuotaKey, int]) -> None: ...

    def on_started(self, seat: Seat) -> None: ...

    def on_nursery_gone(self) -> None: ...


@asynccontextmanager
async def seated() -> AsyncIterator[tuple[Seat, Nursery]]:
    """A seat with a worker that was started and has heard its configuration."""
    nursery = Nursery()
    seat = Seat(0, nursery, Owner())  # type: ignore[arg-type]
    try:
        await until(lambda: nursery.workers)
        assert isinstance(await nursery.workers[0].hear(), Configure)
        yield seat, nursery
    finally:
        stopping = asyncio.create_task(seat.stop())
        while not stopping.done():
            for worker in nursery.workers:
                if worker.process.returncode is None:
                    worker.process.kill()
                await worker.ended()
            await asyncio.sleep(0.01)


async def test_one_that_does_not_answer_is_shown_then_killed_and_replaced() -> None:
    async with seated() as (seat, nursery):
        (worker,) = nursery.workers
        worker.say(Up())
        await seat.first
        seat.tick()
        for _ in range(SILENT_TICKS):
            assert seat.missing() == ""
            seat.tick()
        assert seat.missing() == "worker 0 does not answer"
        for _ in range(SILENT_TICKS, KILL_TICKS):
            assert worker.process.returncode is None
            seat.tick()
        assert await worker.ended() == -signal.SIGKILL
        await until(lambda: len(nursery.workers) == 2)
        nursery.workers[1].say(Up())
        await until(lambda: seat.view().state == "up")
        assert (seat.view().restarts, seat.view().last_end) == (1, "it was killed by SIGKILL")


async def test_one_that_answers_late_is_spared() -> None:
    async with seated() as (seat, nursery):
        (worker,) = nursery.workers
        worker.say(Up())
        await seat.first
        for _ in range(KILL_TICKS - 1):
            seat.tick()
        assert seat.view().state == "silent"
        told = await worker.hear()
        assert isinstance(told, Tell)
        worker.say(Report(told.serial, {}, (), 0, {}, None))
        await until(lambda: seat.view().state == "up")
        seat.tick()
        seat.tick()
        assert worker.process.returncode is None


async def test_one_that_does_not_come_up_is_killed() -> None:
    async with seated() as (seat, nursery):
        (worker,) = nursery.workers
        for _ in range(KILL_TICKS):
            assert seat.missing() == "worker 0 is starting"
            seat.tick()
        assert await worker.ended() == -signal.SIGKILL
        with pytest.raises(ListenError, match="worker 0 did not start"):
            await seat.first


async def test_one_that_cannot_listen_says_why() -> None:
    async with seated() as (seat, nursery):
        nursery.workers[0].say(Failed("the inbound port is in use"))
        with pytest.raises(ListenError, match="the inbound port is in use"):
            await seat.first
        await nursery.workers[0].ended()


async def test_who_waits_for_a_report_is_let_go_when_the_worker_ends() -> None:
    async with seated() as (seat, nursery):
        (worker,) = nursery.workers
        worker.say(Up())
        await seat.first
        report = seat.ask(clusters=True)
        finishing = asyncio.create_task(seat.finish())
        assert isinstance(await worker.hear(), Tell)
        os.kill(worker.process.pid, signal.SIGKILL)
        await worker.ended()
        async with asyncio.timeout(10):
            await report
            assert await finishing is False
