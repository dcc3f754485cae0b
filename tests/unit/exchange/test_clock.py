"""What counts of a request's time, and when."""

from __future__ import annotations

import asyncio
import time

from tests.unit.exchange.test_exchange import Play


class Clock:
    """That of a request on which nothing goes on but what the test says."""

    def __init__(self) -> None:
        self._play = Play()
        self.exchange = self._play.ask(b"POST", end=False)

    async def ended(self) -> tuple[str, float]:
        """The flag that it ended with, and after how many seconds."""
        async with asyncio.timeout(10):
            while not self.exchange.done:
                await asyncio.sleep(0.005)
        (labels,) = self._play.counted
        return labels.flag, time.monotonic() - self.exchange.started


async def test_the_total_is_not_made_longer_by_what_is_heard() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.1)
    clock.exchange.heard = True
    flag, took = await clock.ended()
    assert flag == "UT"
    assert took >= 0.1


async def test_silence_after_a_shorter_total_gets_all_its_time() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.05)
    clock.exchange.limit_silence(0.2)
    flag, took = await clock.ended()
    assert flag == "SI"
    assert took >= 0.2


async def test_a_total_after_a_longer_silence_is_kept() -> None:
    clock = Clock()
    clock.exchange.limit_silence(60.0)
    clock.exchange.limit_total(0.05)
    assert (await clock.ended())[0] == "UT"


async def test_what_is_heard_begins_silence_anew() -> None:
    clock = Clock()
    clock.exchange.limit_silence(0.1)
    clock.exchange.heard = True
    flag, took = await clock.ended()
    assert flag == "SI"
    assert took >= 0.2


async def test_no_limit_after_a_total_is_none() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.01)
    clock.exchange.limit_silence(0.0)
    async with asyncio.timeout(10):
        while clock.exchange.timer is not None:
            await asyncio.sleep(0.01)
    assert not clock.exchange.done


async def test_the_callers_deadline_cuts_all_short() -> None:
    clock = Clock()
    clock.exchange.take_deadline(b"100m")
    clock.exchange.limit_silence(0.0)
    clock.exchange.limit_total(60.0)
    clock.exchange.limit_silence(30.0)
    clock.exchange.heard = True
    flag, took = await clock.ended()
    assert flag == "UT"
    assert 0.1 <= took < 5.0
