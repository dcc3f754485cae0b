"""One attempt after another: where the next one goes, when, and how long each may take."""

from __future__ import annotations

import time

import pytest

from remora.model.policies import Balancer, Breaker, RetryPolicy, ServicePolicy
from remora.sidecar.exchange.repeats import MAX_RESENDS
from remora.sidecar.policy.breaker import BreakerState
from remora.sidecar.wire.heads import ResponseHead, field_value
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play

QUICK_S = 0.0001


def play(**retry: object) -> Play:
    policy = RetryPolicy(backoff_base_s=QUICK_S, **retry)  # type: ignore[arg-type]
    return Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))


async def test_the_next_attempt_is_elsewhere_whoever_would_be_next() -> None:
    played = play()
    played.ask()
    first = played.asked
    played.cluster.pick()
    first.handler.on_reset(ResetReason.PEER_RESET)
    assert await played.attempt(2) is not first


@pytest.mark.parametrize(
    ("fields", "attempts"),
    [
        ([], 2),
        ([(b"retry-after", b"0")], 2),
        ([(b"retry-after", b"61")], 1),
        ([(b"grpc-retry-pushback-ms", b"1")], 2),
        ([(b"grpc-retry-pushback-ms", b"-1")], 1),
    ],
)
async def test_an_answer_that_asks_to_wait_too_long_is_the_callers(
    fields: list[tuple[bytes, bytes]], attempts: int
) -> None:
    played = play(attempts=1)
    played.answer.request_timeout_s = 0.0  # type: ignore[union-attr]
    exchange = played.ask()
    played.asked.handler.on_head(ResponseHead(503, fields), True)
    if attempts == 2:
        (await played.attempt(2)).handler.on_head(ResponseHead(200, []), True)
    assert exchange.done
    assert played.attempts == attempts


async def test_the_next_attempt_waits_as_long_as_the_answer_asks_for() -> None:
    played = play()
    played.ask()
    asked_at = time.monotonic()
    played.asked.handler.on_head(ResponseHead(503, [(b"grpc-retry-pushback-ms", b"100")]), True)
    await played.attempt(2)
    assert time.monotonic() - asked_at >= 0.1


async def test_a_breaker_that_opens_ends_the_tries() -> None:
    policy = ServicePolicy(retry=RetryPolicy(backoff_base_s=QUICK_S), breaker=Breaker("consecutive", failures=1))
    played = Play(policy)
    played.ask()
    played.asked.handler.on_head(ResponseHead(503, []), True)
    assert [head.status for head in played.downstream.heads] == [503]
    assert played.attempts == 1
    assert played.cluster.breakers.state is BreakerState.OPEN
    played.cluster.abort()


async def test_the_next_attempt_is_not_slowed_by_what_the_last_one_could_not_take() -> None:
    played = play()
    exchange = played.ask(b"PUT", end=False)
    exchange.on_data(b"x", False)
    played.asked.handler.on_writable(False)
    assert played.downstream.paused
    played.asked.handler.on_reset(ResetReason.PEER_RESET)
    assert not played.downstream.paused
    assert (await played.attempt(2)).data == b"x"


async def test_closing_connections_are_not_met_for_ever() -> None:
    played = play(attempts=0)
    played.ask(b"POST")
    for attempts in range(1, MAX_RESENDS + 2):
        assert played.attempts == attempts
        played.asked.handler.on_reset(ResetReason.STALE)
    assert [head.status for head in played.downstream.heads] == [503]
    assert played.attempts == MAX_RESENDS + 1
    assert played.active == 0


async def test_the_time_of_a_try_counts_from_the_requests_end_to_the_answers_beginning() -> None:
    played = play(per_try_s=30.0)
    exchange = played.ask(b"PUT", end=False)
    assert exchange._try_timer is None
    exchange.on_data(b"x", True)
    assert exchange._try_timer is not None
    assert exchange._try_timer.timer is not None
    played.asked.handler.on_head(ResponseHead(200, [], content_length=2), False)
    assert exchange._try_timer.timer is None
    played.asked.handler.on_data(b"ok", True)
    assert exchange.done


async def test_a_try_that_takes_too_long_is_made_again_elsewhere() -> None:
    played = play(per_try_s=0.05)
    exchange = played.ask()
    first = played.asked
    second = await played.attempt(2)
    assert second is not first
    assert first.resets == [ResetReason.CANCELLED]
    second.handler.on_head(ResponseHead(200, []), True)
    assert exchange.done
    assert played.metrics.retries == {("shop.default", "no answer in time"): 1}
    assert sum(endpoint.outlier.failures for endpoint in played.cluster.endpoints) == 1


async def test_calls_say_how_many_attempts_there_were() -> None:
    played = play(safe_methods=("POST",))
    played.ask(b"POST", content_type=b"application/grpc")
    for attempts in (1, 2, 3):
        upstream = await played.attempt(attempts)
        said = field_value(upstream.asked[-1][0].fields, b"grpc-previous-rpc-attempts")
        assert said == (None if attempts == 1 else b"%d" % (attempts - 1))
        upstream.handler.on_head(ResponseHead(200, [(b"grpc-status", b"14")]), True)
    await until(lambda: played.downstream.ended)
