"""A bounded memory of requests: all that failed, or had an attempt that did, and samples of the others.

Most requests cost one look at `open`. A sample is taken when it is set, which closes it for SAMPLE_SPACING_S: a sidecar
with little to do remembers every request, a busy one 20 in a second.
"""

from __future__ import annotations

import asyncio
from collections import deque

from remora.model.happened import Happened
from remora.sidecar.exchange.timers import TimerWheel

MAX_FAILURES = 500
"""That were tried, and as many that were not: a breaker that is open refuses many, and must not push out why."""
MAX_SAMPLES = 200
SAMPLE_SPACING_S = 0.05

MAX_TEXT = 256
"""Characters that are kept of what callers choose. So a request takes less than 1 KiB, and at the very worst 8."""
MAX_TRIED = 12
"""Attempts of one request that are kept, the last ones."""
MAX_TOLD = 100
"""Failures that are told of at a time."""


class Recent:
    """Of one data path."""

    __slots__ = ("_failures", "_refused", "_samples", "_timers", "open", "timer")

    def __init__(self, timers: TimerWheel) -> None:
        self._timers = timers
        self._failures: deque[Happened] = deque(maxlen=MAX_FAILURES)
        self._refused: deque[Happened] = deque(maxlen=MAX_FAILURES)
        self._samples: deque[Happened] = deque(maxlen=MAX_SAMPLES)
        self.open = True
        """The next request is to be kept, however it goes."""
        self.timer: int | asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._failures) + len(self._refused) + len(self._samples)

    def keep(self, happened: Happened, *, failed: bool) -> None:
        """Remember it, and forget the oldest where there are too many."""
        if failed:
            (self._failures if happened.attempts else self._refused).append(happened)
            return
        self._samples.append(happened)
        self.open = False
        self._timers.start(self, SAMPLE_SPACING_S)

    def on_timer(self) -> None:
        self.open = True

    def find(self, text: str) -> list[Happened]:
        """Those with this request id or trace id; the oldest first."""
        wanted = text[:MAX_TEXT]
        found = [each for each in self.all() if wanted in (each.request_id, each.trace_id)]
        return sorted(found, key=lambda each: each.at)

    def failures(self) -> list[Happened]:
        """The newest that failed, or had an attempt that did; the oldest of them first."""
        newest = (*list(self._failures)[-MAX_TOLD:], *list(self._refused)[-MAX_TOLD:])
        return sorted(newest, key=lambda each: each.at)[-MAX_TOLD:]

    def all(self) -> list[Happened]:
        """Everything, in no order."""
        return [*self._failures, *self._refused, *self._samples]
