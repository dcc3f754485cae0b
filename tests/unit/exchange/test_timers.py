"""The wheel of coarse timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from remora.sidecar.exchange.timers import TICK_S, TimerWheel


class Item:
    """Something that waits for its timer."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self._then = then
        self.timer: int | asyncio.TimerHandle | None = None
        self.fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def on_timer(self) -> None:
        self.fired.set_result(time.monotonic())
        self._then()


async def test_timers_fire_neither_early_nor_twice() -> None:
    wheel, started = TimerWheel(), time.monotonic()
    delays = [0.01, 0.2, 1.0, 1.01, 1.3]
    items = [Item() for _ in delays]
    for item, delay in zip(items, delays, strict=True):
        wheel.start(item, delay)
    async with asyncio.timeout(20):
        fired = await asyncio.gather(*(item.fired for item in items))
    for delay, at in zip(delays, fired, strict=True):
        assert at - started >= delay - 0.002
    assert len(wheel) == 0
    assert all(item.timer is None for item in items)


async def test_a_cancelled_timer_does_not_fire() -> None:
    wheel = TimerWheel()
    cancelled = [Item(), Item()]
    wheel.start(cancelled[0], 0.02)
    wheel.start(cancelled[1], 1.0)
    for item in cancelled:
        wheel.cancel(item)
        wheel.cancel(item)
    witness = Item()
    wheel.start(witness, 1.0 + 3 * TICK_S)
    async with asyncio.timeout(20):
        await witness.fired
    assert not any(item.fired.done() for item in cancelled)


async def test_starting_again_replaces_the_timer() -> None:
    wheel, item, started = TimerWheel(), Item(), time.monotonic()
    wheel.start(item, 1.0)
    wheel.start(item, 1.2)
    assert len(wheel) == 1
    async with asyncio.timeout(20):
        assert await item.fired - started >= 1.2


async def test_an_earlier_timer_does_not_wait_for_a_later_one() -> None:
    wheel, late, early, started = TimerWheel(), Item(), Item(), time.monotonic()
    wheel.start(late, 60)
    wheel.start(early, 1.0)
    async with asyncio.timeout(20):
        assert 1.0 <= await early.fired - started < 10
    assert len(wheel) == 1


async def test_one_that_fires_may_cancel_another_of_its_slot() -> None:
    wheel = TimerWheel()

    def cancel_all() -> None:
        for item in items:
            wheel.cancel(item)

    items = [Item(cancel_all), Item(cancel_all)]
    for item in items:
        wheel.start(item, 1.0)
    assert items[0].timer == items[1].timer
    witness = Item()
    wheel.start(witness, 1.0 + 3 * TICK_S)
    async with asyncio.timeout(20):
        await witness.fired
    assert sum(item.fired.done() for item in items) == 1


async def test_cancelled_timers_do_not_wake_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, wheel, delays = asyncio.get_running_loop(), TimerWheel(), []
    call_later = loop.call_later

    def counted(delay: float, callback: Callable[[], None], *arguments: object) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(delay, callback, *arguments)

    witness = Item()
    monkeypatch.setattr(loop, "call_later", counted)
    for seconds in range(2, 20):
        item = Item()
        wheel.start(item, seconds)
        wheel.cancel(item)
    wheel.start(witness, 2.5)
    monkeypatch.undo()
    async with asyncio.timeout(20):
        await witness.fired
    assert len(delays) == 1
    assert delays[0] > 1.9
    assert not wheel._slots


async def test_cancelled_timers_leave_nothing_behind() -> None:
    """An hour of connections that may be silent for an hour would leave 72,000 slots."""
    wheel = TimerWheel()
    for number in range(1000):
        items = [Item(), Item()]
        for item in items:
            wheel.start(item, 3600.0 + number * TICK_S)
        for item in items:
            wheel.cancel(item)
    assert wheel.slots == 0
    kept = Item()
    wheel.start(kept, 1.0)
    assert wheel.slots == 1
    async with asyncio.timeout(20):
        await kept.fired
    assert wheel.slots == 0
