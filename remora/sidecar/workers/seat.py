"""A worker as the parent sees it: a seat that is taken by one process after another.

starting ──Up──► up ◄──Report── silent (has not answered for a while; after a longer while it is killed)
    ▲             │               │
    └── backoff ──┴──── ended ◄───┘
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from remora.model.names import ServiceName
from remora.model.shares import QuotaKey
from remora.sidecar.admin.views import ClusterView, WorkerView
from remora.sidecar.listener.listener import ListenError
from remora.sidecar.source.backoff import Backoff
from remora.sidecar.upstream.health import Member
from remora.sidecar.workers.channel import Channel
from remora.sidecar.workers.counts import Taken
from remora.sidecar.workers.messages import (
    Answer,
    Ask,
    Checked,
    Drain,
    Failed,
    Finish,
    Finished,
    FromWorker,
    Inquire,
    Lease,
    Report,
    Tell,
    Told,
    Up,
    encode,
)
from remora.sidecar.workers.nursery import Nursery, NurseryError, describe_end

log = logging.getLogger(__name__)

RESTART_BASE_S = 0.2
RESTART_CAP_S = 10.0
STABLE_S = 10.0
"""A worker that lived for so long was a good one: the next one is started soon again."""
SILENT_TICKS = 5
KILL_TICKS = 30
"""Without an answer for so many ticks, it hangs. Ticks, not seconds: a machine that slept is not held against it."""

State = Literal["starting", "up", "silent", "ended"]


class SeatOwner(Protocol):
    """The pool, as its seats see it."""

    def configuration(self) -> bytes:
        """The Configure to begin with."""

    def failing(self) -> Iterable[tuple[Member, str]]:
        """What a new worker has to know of health checks."""

    def on_asked(self, seat: Seat, service: ServiceName) -> None: ...

    def on_report(self, counts: Taken, used: tuple[ServiceName, ...]) -> None: ...

    def on_wanted(self, seat: Seat, wanted: Mapping[QuotaKey, int]) -> None:
        """What its requests needed of limits since it was last asked."""

    def on_started(self, seat: Seat) -> None:
        """A new process is up."""

    def on_nursery_gone(self) -> None: ...


class Seat:
    """Keeps one worker running until it is told to finish or stop."""

    def __init__(self, number: int, nursery: Nursery, owner: SeatOwner) -> None:
        self.number = number
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first worker here is up; ListenError when it cannot be."""
        self.clusters: tuple[ClusterView, ...] = ()
        self.connections: dict[str, int] = {}
        self._nursery = nursery
        self._owner = owner
        self._decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
        self._backoff = Backoff(RESTART_BASE_S, RESTART_CAP_S, random.random)
        self._stopping = asyncio.Event()
        self._channel: Channel | None = None
        self._waits: bytes | None = None
        self._answers: list[bytes] = []
        self._reports: dict[int, asyncio.Future[None]] = {}
        self._inquiries: dict[int, asyncio.Future[Told | None]] = {}
        self._asked = 0
        self._missed = 0
        self._finished: asyncio.Future[bool] | None = None
        self._state: State = "starting"
        self._since = time.time()
        self._pid = 0
        self._restarts = 0
        self._last_end = ""
        self._requests = 0
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"worker-{number}")

    # ── what the pool asks for ──

    def view(self) -> WorkerView:
        """For people."""
        return WorkerView(
            self.number,
            self._pid,
            self._state,
            self._since,
            self._restarts,
            self._last_end,
            self._requests,
            self.connections,
        )

    def missing(self) -> str:
        """Why this worker does not carry traffic; empty when it does."""
        if self._state == "up":
            return ""
        what = {"starting": "is starting", "silent": "does not answer", "ended": "has ended and will be replaced"}
        return f"worker {self.number} {what[self._state]}" + (f" ({self._last_end})" if self._last_end else "")

    def configure(self, configuration: bytes) -> None:
        """Have it use this; of several that wait for a worker that does not keep up, the newest."""
        self._waits = configuration
        self._send_waiting()

    def answer(self, service: ServiceName, known: bool) -> None:
        """To Ask. Goes after the configuration that has the service."""
        self._answers.append(encode(Answer(service, known)))
        self._send_waiting()

    def lease(self, shares: Mapping[QuotaKey, float]) -> None:
        """Tell it its parts of limits."""
        if self._channel is not None and self._state == "up":
            self._channel.send(encode(Lease(tuple((*key, share) for key, share in shares.items()))))

    def check(self, member: Member, fault: str) -> None:
        """Tell it of a health check. Goes after the configuration that has the endpoint."""
        self._answers.append(encode(Checked(member.service, member.endpoint, fault)))
        self._send_waiting()

    def tick(self) -> None:
        """Ask how it is, for the sake of its counts, and notice when it does not answer, or does not come up."""
        if self._state == "ended":
            return
        keeps_up = self._channel is not None and self._channel.writable
        if self._state == "up" and keeps_up and not self._reports:
            self.ask(clusters=False)
            return
        self._missed += 1
        if self._missed == SILENT_TICKS and self._state == "up":
            log.error("Worker %d does not answer.", self.number)
            self._enter("silent")
        if self._missed >= KILL_TICKS:
            log.error("Worker %d hangs and is killed.", self.number)
            self._kill()

    def ask(self, *, clusters: bool) -> asyncio.Future[None]:
        """Have it report; done when it has, or is gone."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel = self._channel
        if self._state != "up" or channel is None or not channel.writable:
            answer.set_result(None)
            return answer
        self._asked += 1
        self._reports[self._asked] = answer
        channel.send(encode(Tell(self._asked, clusters)))
        return answer

    def inquire(self, query: str, config: str) -> asyncio.Future[Told | None]:
        """Have it answer a query of /explain; None when it does not carry traffic, or ends."""
        answer: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        channel = self._channel
        if self._state != "up" or channel is None or not channel.writable:
            answer.set_result(None)
            return answer
        self._asked += 1
        self._inquiries[self._asked] = answer
        channel.send(encode(Inquire(self._asked, query, config)))
        return answer

    def drain(self) -> None:
        """Have it tell callers to go elsewhere. From now on it is not replaced."""
        self._stopping.set()
        if self._channel is not None:
            self._channel.send(encode(Drain()))

    async def finish(self) -> bool:
        """Let its live requests end; whether all did."""
        self._stopping.set()
        channel = self._channel
        if channel is None or self._state not in ("up", "silent"):
            return True
        self._finished = asyncio.get_running_loop().create_future()
        channel.send(encode(Finish()))
        return await self._finished

    async def stop(self) -> None:
        """End it at once."""
        self._stopping.set()
        if self._channel is not None:
            self._channel.abort()
        await asyncio.wait([self._task])
        if self.first.done() and not self.first.cancelled():
            self.first.exception()  # someone else's fault may have been told instead

    # ── its life ──

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._live()
            except NurseryError as error:
                self._end(f"the process that starts workers is gone: {error}")
                self._owner.on_nursery_gone()
                return
            if self._stopping.is_set():
                return
            if time.monotonic() - started >= STABLE_S:
                self._backoff.reset()
            delay_s = self._backoff.next_delay()
            self._restarts += 1
            log.error("Worker %d is gone (%s); another starts in %.1f s.", self.number, self._last_end, delay_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    async def _live(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = await self._nursery.fork(self.number, theirs)
            except BaseException:
                ours.close()
                raise
        self._enter("starting")
        self._channel = await Channel.open(ours, self._on_message, self._send_waiting)
        if self._stopping.is_set():
            self._channel.abort()
        self.configure(self._owner.configuration())
        for member, fault in self._owner.failing():
            self.check(member, fault)
        await self._channel.closed.wait()
        self._channel = None
        self._end("its channel was closed")
        self._last_end = describe_end(await self._nursery.reap(self._pid))

    def _end(self, reason: str) -> None:
        self._last_end = reason
        self._enter("ended")
        self.connections, self.clusters, self._requests, self._missed = {}, (), 0, 0
        self._waits = None
        self._answers.clear()
        reports, self._reports = self._reports, {}
        for report in reports.values():
            report.set_result(None)
        inquiries, self._inquiries = self._inquiries, {}
        for inquiry in inquiries.values():
            if not inquiry.done():
                inquiry.set_result(None)
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(False)
        if not self.first.done():
            self.first.set_exception(ListenError(f"worker {self.number} did not start: {reason}"))

    def _on_message(self, data: bytes) -> None:
        message = self._decoder.decode(data)
        match message:
            case Report():
                self._on_report(message)
            case Told():
                inquiry = self._inquiries.pop(message.serial, None)
                if inquiry is not None and not inquiry.done():
                    inquiry.set_result(message)
            case Ask():
                self._owner.on_asked(self, message.service)
            case Up():
                self._missed = 0
                self._enter("up")
                self._owner.on_started(self)
                if not self.first.done():
                    self.first.set_result(None)
            case Failed():
                log.error("Worker %d cannot listen: %s.", self.number, message.reason)
                if not self.first.done():
                    self.first.set_exception(ListenError(message.reason))
                self._kill()
            case Finished():
                if self._finished is not None and not self._finished.done():
                    self._finished.set_result(message.clean)

    def _on_report(self, report: Report) -> None:
        self._requests, self.connections = report.requests, report.connections
        if report.clusters is not None:
            self.clusters = report.clusters
        self._missed = 0
        if self._state == "silent":
            log.warning("Worker %d answers again.", self.number)
            self._enter("up")
        self._owner.on_report(report.counts, report.used)
        if report.wanted:
            self._owner.on_wanted(self, {(service, limit): count for service, limit, count in report.wanted})
        asked = self._reports.pop(report.serial, None)
        if asked is not None and not asked.done():
            asked.set_result(None)

    def _send_waiting(self) -> None:
        channel = self._channel
        if channel is None or not channel.writable:
            return
        if self._waits is not None:
            channel.send(self._waits)
            self._waits = None
        for answer in self._answers:
            channel.send(answer)
        self._answers.clear()

    def _kill(self) -> None:
        # Nobody but the nursery reaps it, and only when it was asked to: the id is still this worker's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _enter(self, state: State) -> None:
        self._state = state
        self._since = time.time()
