"""How long a request may take: its total, the longest silence, and its caller's deadline.

One of them counts at a time: the total from the end of the request until an answer begins, else the longest silence
(docs/decisions/0006). The caller's grpc-timeout cuts either short. The timer is moved only to be earlier; one that goes
off before its time is set again, so that an answer that begins costs no timer.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.grpc_timeout import format_grpc_timeout, parse_grpc_timeout
from remora.sidecar.exchange.timers import TimerWheel

_NEVER = float("inf")


class RequestClock:
    """What an exchange is of time: it stands in the wheel itself, so that a request has no object more."""

    __slots__ = ("_armed_for", "_deadline", "_due", "_on_total", "_seconds", "_timers", "heard", "started", "timer")

    def __init__(self, timers: TimerWheel) -> None:
        self._timers = timers
        self.started = time.monotonic()
        self._deadline = _NEVER
        """When the caller's grpc-timeout runs out."""
        self._seconds = 0.0
        """What counts now: so long a total or silence."""
        self._due = _NEVER
        """When that is over."""
        self._armed_for = _NEVER
        """When the timer goes off, at the earliest."""
        self._on_total = False
        """What counts is the request's total, not its silence."""
        self.heard = False
        """Whether anything was said since silence began to count."""
        self.timer: int | asyncio.TimerHandle | None = None

    @abstractmethod
    def on_timeout(self, failure: Failure, seconds: float, *, past_deadline: bool) -> None:
        """The request has taken too long, by `failure`, after `seconds`."""

    def take_deadline(self, grpc_timeout: bytes) -> None:
        """The caller waits so long, from the request's beginning."""
        timeout = parse_grpc_timeout(grpc_timeout)
        if timeout is not None:
            self._deadline = self.started + timeout

    def grpc_timeout_left(self, grpc_timeout: bytes, *, of_total: bool) -> bytes:
        """What is left now of the caller's `grpc_timeout`, which may have become the total; one that is neither stays
        as it is."""
        due = self._deadline
        if of_total and self._on_total:
            due = self._due
        return grpc_timeout if due == _NEVER else format_grpc_timeout(due - time.monotonic())

    def time_left(self) -> float:
        """Seconds until what counts now is over."""
        return self._due - time.monotonic()

    def time_is_up(self) -> bool:
        """Whether the caller's deadline has passed."""
        return self._deadline != _NEVER and time.monotonic() >= self._deadline

    def limit_total(self, seconds: float) -> None:
        """From now on the total counts, 0: none."""
        self._on_total = True
        self._limit(seconds)

    def limit_silence(self, seconds: float) -> None:
        """From now on the longest silence counts, 0: none."""
        self.heard = self._on_total = False
        self._limit(seconds)

    def _limit(self, seconds: float) -> None:
        self._seconds = seconds
        now = time.monotonic()
        due = now + seconds if seconds else _NEVER
        if due > self._deadline:
            due = self._deadline
        self._due = due
        if due < self._armed_for:
            self._armed_for = due
            left = due - now
            self._timers.start(self, left if left > 0.0 else 0.0)

    def on_timer(self) -> None:
        """The request's total, its caller's deadline, or the longest silence has passed, or the timer was early."""
        self._armed_for = _NEVER
        now = time.monotonic()
        if now >= self._deadline:
            self.on_timeout(failures.TIMEOUT, now - self.started, past_deadline=True)
        elif now < self._due:
            self._armed_for = self._due
            if self._due < _NEVER:
                self._timers.start(self, self._due - now)
        elif self._on_total:
            self.on_timeout(failures.TIMEOUT, self._seconds, past_deadline=False)
        elif self.heard:
            self.limit_silence(self._seconds)
        else:
            self.on_timeout(failures.IDLE_TIMEOUT, self._seconds, past_deadline=False)
