"""What counts of a request's time, and when."""

from __future__ import annotations

import asyncio
import time

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.clock import RequestClock
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.timers import TimerWheel


class Clock(RequestClock):
    """Notes when it was over, since it was made."""

    def __init__(self) -> None:
        super().__init__(TimerWheel())
        self.over: asyncio.Future[tuple[Failure, float, bool]] = asyncio.get_running_loop().create_future()

    def on_timeout(self, failure: Failure, seconds: float, *, past_deadline: bool) -> None:
        self.over.set_result((failure, seconds, past_deadline))

    async def ended(self) -> tuple[Failure, float, bool, float]:
        async with asyncio.timeout(10):
            failure, seconds, past_deadline = await self.over
        return failure, seconds, past_deadline, time.monotonic() - self.started


async def test_the_total_is_not_made_longer_by_what_is_heard() -> None:
    clock = Clock()
    clock.limit_total(0.1)
    clock.heard = True
    failure, seconds, past_deadline, took = await clock.ended()
    assert (failure, seconds, past_deadline) == (failures.TIMEOUT, 0.1, False)
    assert took >= 0.1


async def test_silence_after_a_shorter_total_gets_all_its_time() -> None:
    clock = Clock()
    clock.limit_total(0.05)
    clock.limit_silence(0.2)
    failure, seconds, _, took = await clock.ended()
    assert (failure, seconds) == (failures.IDLE_TIMEOUT, 0.2)
    assert took >= 0.2


async def test_a_total_after_a_longer_silence_is_kept() -> None:
    clock = Clock()
    clock.limit_silence(60.0)
    clock.limit_total(0.05)
    assert (await clock.ended())[0] is failures.TIMEOUT


async def test_what_is_heard_begins_silence_anew() -> None:
    clock = Clock()
    clock.limit_silence(0.1)
    clock.heard = True
    failure, _, _, took = await clock.ended()
    assert failure is failures.IDLE_TIMEOUT
    assert took >= 0.2


async def test_no_limit_after_a_total_is_none() -> None:
    clock = Clock()
    clock.limit_total(0.01)
    clock.limit_silence(0.0)
    async with asyncio.timeout(10):
        while clock.timer is not None:
            await asyncio.sleep(0.01)
    assert not clock.over.done()


async def test_the_callers_deadline_cuts_all_short() -> None:
    clock = Clock()
    clock.take_deadline(b"100m")
    clock.limit_silence(0.0)
    clock.limit_total(60.0)
    clock.limit_silence(30.0)
    clock.heard = True
    failure, _, past_deadline, took = await clock.ended()
    assert (failure, past_deadline) == (failures.TIMEOUT, True)
    assert 0.1 <= took < 5.0
