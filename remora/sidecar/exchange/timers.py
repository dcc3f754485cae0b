"""Coarse timers for what is nearly always cancelled: a request's timeout costs a set insertion and a removal.

A wheel of 50 ms slots, kept in a dictionary; the loop has one timer for all of them. Delays under a second, where 50 ms
would show, get a timer of their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

TICK_S = 0.05
PRECISE_BELOW_S = 1.0


class Expiring(Protocol):
    """What a timer is set for. It holds the timer's place itself, so that cancelling finds it."""

    timer: int | asyncio.TimerHandle | None

    def on_timer(self) -> None: ...


class TimerWheel:
    """One timer for each Expiring, at most."""

    __slots__ = ("_handle", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, set[Expiring]] = {}
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait in the wheel."""
        return sum(map(len, self._slots.values()))

    def start(self, item: Expiring, delay_s: float) -> None:
        """Call `item.on_timer()` in `delay_s`, or up to one tick later. Replaces its timer."""
        if item.timer is not None:
            self.cancel(item)
        if delay_s < PRECISE_BELOW_S:
            item.timer = asyncio.get_running_loop().call_later(delay_s, _fire, item)
            return
        index = int((time.monotonic() + delay_s) / TICK_S) + 1
        item.timer = index
        slot = self._slots.get(index)
        if slot is None:
            self._slots[index] = {item}
            self._arm()
        else:
            slot.add(item)

    def cancel(self, item: Expiring) -> None:
        """Forget `item`'s timer, if it has one."""
        timer = item.timer
        if timer is None:
            return
        item.timer = None
        if isinstance(timer, int):
            self._slots[timer].discard(item)
        else:
            timer.cancel()

    def _arm(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._handle = None
        now = int(time.monotonic() / TICK_S)
        for index in sorted(index for index in self._slots if index <= now):
            for item in self._slots.pop(index):
                _fire(item)
        if self._slots:
            self._arm()


def _fire(item: Expiring) -> None:
    item.timer = None
    item.on_timer()
