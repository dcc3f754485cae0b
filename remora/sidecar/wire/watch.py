"""Looks at connections in turn, each once a period: timeouts that cost a request nothing, and one timer for them all.

Who is looked at compares with what it was the last time; so a timeout is late by up to two periods, never early.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_TURNS = 10
"""Parts that connections are spread over, so that many are not looked at in one turn of the loop."""


class Watched(Protocol):
    """What is looked at."""

    def on_watch(self) -> None: ...


class Watch:
    """One for the connections of a listener."""

    __slots__ = ("_handle", "_next", "_parts", "period_s")

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._parts: tuple[set[Watched], ...] = tuple(set() for _ in range(_TURNS))
        self._next = 0
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, item: Watched) -> set[Watched]:
        """Look at `item` from now on, until it is discarded from the set that this gives."""
        part = min(self._parts, key=len)
        part.add(item)
        if self._handle is None:
            self._arm(asyncio.get_running_loop())
        return part

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(self.period_s / _TURNS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = None
        self._next = (self._next + 1) % _TURNS
        for item in tuple(self._parts[self._next]):
            item.on_watch()
        if any(self._parts):
            self._arm(loop)
