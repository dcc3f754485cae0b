"""What counts of a request's time, and when."""

from __future__ import annotations

import time

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play


class Clock:
    """That of a request on which nothing goes on but what the test says."""

    def __init__(self) -> None:
        self._play = Play()
        self.exchange = self._play.ask(b"POST", end=False)

    async def ended_by(self, flag: str, after_s: float) -> None:
        """It ends with `flag`, not before `after_s`."""
        await until(lambda: self.exchange.done)
        assert [labels.flag for labels in self._play.counted] == [flag]
        assert after_s <= time.monotonic() - self.exchange.started < 5.0


async def test_the_total_is_not_made_longer_by_what_is_heard() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.1)
    clock.exchange.heard = True
    await clock.ended_by("UT", 0.1)


async def test_silence_after_a_shorter_total_gets_all_its_time() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.05)
    clock.exchange.limit_silence(0.2)
    await clock.ended_by("SI", 0.2)


async def test_a_total_after_a_longer_silence_is_kept() -> None:
    clock = Clock()
    clock.exchange.limit_silence(60.0)
    clock.exchange.limit_total(0.05)
    await clock.ended_by("UT", 0.05)


async def test_what_is_heard_begins_silence_anew() -> None:
    clock = Clock()
    clock.exchange.limit_silence(0.1)
    clock.exchange.heard = True
    await clock.ended_by("SI", 0.2)


async def test_no_limit_after_a_total_is_none() -> None:
    clock = Clock()
    clock.exchange.limit_total(0.01)
    clock.exchange.limit_silence(0.0)
    await until(lambda: clock.exchange.timer is None)
    assert not clock.exchange.done


async def test_the_callers_deadline_cuts_all_short() -> None:
    clock = Clock()
    clock.exchange.take_deadline(b"100m")
    clock.exchange.limit_silence(0.0)
    clock.exchange.limit_total(60.0)
    clock.exchange.limit_silence(30.0)
    clock.exchange.heard = True
    await clock.ended_by("UT", 0.1)


async def test_an_answer_of_known_length_has_the_total_to_its_end() -> None:
    play = Play()
    exchange = play.ask()
    play.asked.handler.on_head(ResponseHead(200, [], content_length=9), False)
    play.asked.handler.on_data(b"part", False)
    exchange.limit_total(0.05)
    await until(lambda: exchange.done)
    assert play.downstream.resets == [ResetReason.CANCELLED]
    assert [labels.flag for labels in play.counted] == ["UT"]
    [happened] = play.recent.all()
    assert happened.why == "it had not ended within 0.05 s"
