"""Requests that a gate holds, and what becomes of the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.failures import RATE_LIMITED
from remora.sidecar.exchange.gate import Account, Asked, Delayed, Granted, Quota, Stopped, Verdict
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play
from tests.unit.exchange.test_falling_back import OTHER, FallingPlay


class Asking:
    """Asks, and waits for what the test says, unless it says something itself."""

    def __init__(self, verdict: Verdict = None) -> None:
        self.verdict = verdict
        self.answer: asyncio.Future[Stopped | Granted | None] = asyncio.get_running_loop().create_future()
        self.left: list[Outcome] = []

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:
        return self.verdict or Asked(self.answer)

    def leave(self, outcome: Outcome, now: float, seconds: float) -> None:
        self.left.append(outcome)

    def quotas(self) -> tuple[Quota, ...]:
        return ()

    def close(self) -> None:
        pass

    def explain(self, head: RequestHead) -> Sequence[Account]:
        return ()


class HeldPlay(Play):
    def __init__(self, verdict: Verdict = None) -> None:
        super().__init__()
        self.gate = Asking(verdict)
        assert isinstance(self.answer, Decision)
        self.answer = self.shared = self.answer.with_gates((self.gate,))


async def test_it_goes_on_with_what_it_was_granted() -> None:
    played = HeldPlay()
    played.ask()
    assert played.attempts == 0
    played.gate.answer.set_result(Granted([(b"x-plan", b"gold")], [(b"x-left", b"9")]))
    upstream = await played.attempt(1)
    assert (b"x-plan", b"gold") in upstream.asked[0][0].fields
    upstream.handler.on_head(ResponseHead(200, []), True)
    assert played.downstream.heads[0].fields == [(b"x-left", b"9")]
    assert not played.shared.answer_fields, "others go by the same decision"
    assert played.gate.left == [Outcome.OK]


async def test_it_is_stopped_with_what_it_is_told() -> None:
    played = HeldPlay()
    played.ask()
    played.gate.answer.set_result(Stopped(RATE_LIMITED, "too much", [(b"x-plan", b"basic")], 1.2))
    await until(lambda: bool(played.downstream.heads))
    assert played.downstream.heads[0].status == 429
    assert played.downstream.heads[0].fields[-2:] == [(b"retry-after", b"2"), (b"x-plan", b"basic")]
    assert played.attempts == 0


async def test_nobody_waits_for_a_caller_that_has_gone() -> None:
    played = HeldPlay()
    exchange = played.ask()
    exchange.on_reset(ResetReason.CANCELLED)
    assert played.gate.answer.cancelled()
    assert played.gate.left == [Outcome.UNKNOWN]


async def test_a_delay_does_not_outlive_its_request() -> None:
    played = HeldPlay(Delayed(3600.0))
    exchange = played.ask()
    assert exchange._passage is not None
    held = exchange._passage.held
    assert isinstance(held, asyncio.TimerHandle)
    exchange.on_reset(ResetReason.CANCELLED)
    assert held.cancelled()


async def test_an_answer_in_the_moment_of_the_end_changes_nothing() -> None:
    played = HeldPlay()
    exchange = played.ask()
    played.gate.answer.set_result(None)
    exchange.on_reset(ResetReason.CANCELLED)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert played.attempts == 0


async def test_a_request_that_falls_back_is_not_sent_again_when_the_wait_is_over() -> None:
    played = FallingPlay(service=OTHER)
    gate = Asking()
    assert isinstance(played.answer, Decision)
    fallback = played.answer.fallback
    played.answer = played.answer.with_gates((gate,)).with_request_timeout(0.01)
    played.answer.fallback = fallback
    played.ask()
    await until(lambda: bool(played.other.asked))
    assert gate.answer.cancelled()
    assert gate.left == [Outcome.FAILED]
    assert len(played.other.asked) == 1
