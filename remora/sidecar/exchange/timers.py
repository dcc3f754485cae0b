"""Coarse timers for what is nearly always cancelled: a request's timeout costs a set insertion and a removal.

A wheel of 50 ms slots, kept in a dictionary; the loop has one timer for all of them, for the earliest slot in use: a
sidecar without traffic sleeps. Delays under a second, where 50 ms would show, get a timer of their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

TICK_S = 0.05
PRECISE_BELOW_S = 1.0
_ROUNDING_S = 0.001
"""The loop's timers have milliseconds, and may be that much early."""


class Expiring(Protocol):
    """What a timer is set for. It holds the timer's place itself, so that cancelling finds it."""

    timer: int | asyncio.TimerHandle | None

    def on_timer(self) -> None: ...


class TimerWheel:
    """One timer for each Expiring, at most."""

    __slots__ = ("_armed", "_handle", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, set[Expiring]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0
        """The slot that the loop's timer is for."""

    def __len__(self) -> int:
        """How many wait in the wheel."""
        return sum(map(len, self._slots.values()))

    @property
    def slots(self) -> int:
        """How many slots are in use: what it weighs, beside what waits."""
        return len(self._slots)

    def start(self, item: Expiring, delay_s: float) -> None:
        """Call `item.on_timer()` in `delay_s`, or up to one tick later. Replaces its timer."""
        if delay_s < PRECISE_BELOW_S:
            self.cancel(item)
            item.timer = asyncio.get_running_loop().call_later(delay_s, _fire, item)
            return
        index = int((time.monotonic() + delay_s) / TICK_S) + 1
        if item.timer is not None:
            if item.timer == index:
                return
            self.cancel(item)
        item.timer = index
        slot = self._slots.get(index)
        if slot is None:
            self._slots[index] = {item}
            self._arm(index)
        else:
            slot.add(item)

    def cancel(self, item: Expiring) -> None:
        """Forget `item`'s timer, if it has one."""
        timer = item.timer
        if timer is None:
            return
        item.timer = None
        if not isinstance(timer, int):
            timer.cancel()
            return
        slot = self._slots[timer]
        slot.discard(item)
        if not slot:
            # A slot that is an hour ahead would stay for an hour.
            del self._slots[timer]

    def _arm(self, index: int) -> None:
        """Have a tick when slot `index` is due, if none comes before it."""
        if self._handle is not None:
            if self._armed <= index:
                return
            self._handle.cancel()
        self._armed = index
        delay_s = max(0.0, index * TICK_S - time.monotonic()) + _ROUNDING_S
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._handle = None
        now = int(time.monotonic() / TICK_S)
        try:
            for index in sorted(index for index in self._slots if index <= now):
                # It stays in place meanwhile: firing one may cancel another, and so all that are left.
                slot = self._slots.get(index)
                while slot:
                    _fire(slot.pop())
        finally:
            self._slots = {index: slot for index, slot in self._slots.items() if slot}
            if self._slots:
                self._arm(min(self._slots))


def _fire(item: Expiring) -> None:
    item.timer = None
    item.on_timer()
