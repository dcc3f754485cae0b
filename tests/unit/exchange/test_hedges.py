"""Hedged requests: who gets a second attempt, and which answer counts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from remora.model.policies import Balancer, Hedging, RetryBudget, RetryPolicy, ServicePolicy
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.grpc_timeout import parse_grpc_timeout
from remora.sidecar.wire.heads import ResponseHead, field_value
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play, Upstream

DELAY_S = 0.001


def play(hedges: int = 1, *, attempts: int = 0, **retry: Any) -> Play:
    policy = RetryPolicy(attempts=attempts, hedging=Hedging(DELAY_S, hedges), **retry)
    return Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))


async def hedged(played: Play) -> tuple[Upstream, Upstream]:
    """The first upstream and the other, once both are asked."""
    first = played.asked
    await played.attempt(2)
    (second,) = (upstream for upstream in played.upstreams if upstream is not first)
    return first, second


def add_a_third(played: Play) -> None:
    known = [endpoint.endpoint for endpoint in played.cluster.endpoints]
    played.cluster.update((*known, Endpoint("c", "127.0.0.1", 3)), played.policy)
    played.upstreams.append(Upstream())
    played.cluster.endpoints[2].pool("http1").on_connection_free(played.upstreams[2])


def answer(upstream: Upstream, status: int = 200) -> None:
    upstream.handler.on_head(ResponseHead(status, [], content_length=2), False)
    upstream.handler.on_data(b"ok", True)


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_answer_counts_and_the_other_attempt_is_given_up(winner: int) -> None:
    played = play()
    exchange = played.ask()
    pair = await hedged(played)
    assert played.cluster.budget.retrying == 1
    answer(pair[winner])
    assert played.downstream.data == b"ok"
    assert [len(upstream.resets) for upstream in pair] == [winner, 1 - winner]
    assert exchange.done
    assert played.active == played.cluster.budget.retrying == 0
    assert played.metrics.retries == {("shop.default", "hedge"): 1}
    assert [labels.flag for labels in played.counted] == [""]


async def test_an_answer_in_time_is_not_hedged() -> None:
    played = play()
    exchange = played.ask()
    assert exchange.hedges is not None
    assert exchange.hedges.timer.timer is not None
    answer(played.asked)
    assert exchange.hedges.timer.timer is None
    assert played.attempts == 1


@pytest.mark.parametrize("status", [503, 500, 0])
@pytest.mark.parametrize("first_fails", [True, False])
async def test_a_failure_is_not_an_answer_while_another_attempt_is_in_flight(status: int, first_fails: bool) -> None:
    played = play()
    played.ask()
    pair = await hedged(played)
    bad, good = pair if first_fails else pair[::-1]
    if status:
        answer(bad, status)
    else:
        bad.handler.on_reset(ResetReason.PEER_RESET)
    assert not played.downstream.heads
    assert played.cluster.budget.retrying == 0
    answer(good)
    assert [head.status for head in played.downstream.heads] == [200]
    assert not good.resets
    assert played.active == 0


@pytest.mark.parametrize("in_trailers", [False, True])
async def test_a_call_that_fails_is_not_answered_while_another_attempt_is_in_flight(in_trailers: bool) -> None:
    """INTERNAL is no status that is tried again, but the other attempt may do better."""
    played = play(safe_methods=("POST",))
    played.ask(b"POST", content_type=b"application/grpc")
    first, second = await hedged(played)
    status = [(b"grpc-status", b"13")]
    if in_trailers:
        first.handler.on_head(ResponseHead(200, []), False)
        first.handler.on_trailers(status)
    else:
        first.handler.on_head(ResponseHead(200, status), True)
    assert not played.downstream.heads
    second.handler.on_head(ResponseHead(200, []), False)
    second.handler.on_data(b"message", False)
    second.handler.on_trailers([(b"grpc-status", b"0")])
    assert played.downstream.trailers == [(b"grpc-status", b"0")]
    assert played.active == played.cluster.budget.retrying == 0


async def test_there_is_no_hedge_beside_an_answer_that_has_begun() -> None:
    played = play(hedges=2)
    exchange = played.ask()
    first, _ = await hedged(played)
    assert exchange.hedges is not None
    played.timers.start(exchange.hedges.timer, 60.0)
    first.handler.on_head(ResponseHead(200, [], content_length=2), False)
    assert exchange.hedges.timer.timer is None


async def test_the_last_failure_is_the_answer() -> None:
    played = play()
    played.ask()
    first, second = await hedged(played)
    answer(second, 503)
    answer(first, 503)
    assert [head.status for head in played.downstream.heads] == [503]
    assert played.downstream.data == b"ok"


async def test_when_all_have_failed_it_is_tried_again_as_any_request() -> None:
    played = play(attempts=1, backoff_base_s=0.001)
    played.ask()
    first, second = await hedged(played)
    first.handler.on_reset(ResetReason.PEER_RESET)
    second.handler.on_reset(ResetReason.PEER_RESET)
    third = await played.attempt(3)
    answer(third)
    assert [head.status for head in played.downstream.heads] == [200]
    assert played.metrics.retries == {("shop.default", "hedge"): 1, ("shop.default", "reset before a response"): 1}
    assert played.active == played.cluster.budget.retrying == played.cluster.budget.waiting == 0


async def test_what_is_not_safe_is_not_hedged() -> None:
    played = play()
    exchange = played.ask(b"POST")
    exchange.on_hedge_due()
    assert played.attempts == 1


async def test_there_is_no_hedge_to_an_endpoint_that_has_the_request() -> None:
    played = play(hedges=5)
    exchange = played.ask()
    await hedged(played)
    exchange.on_hedge_due()
    assert played.attempts == 2


async def test_hedges_count_against_the_budget() -> None:
    played = play(budget=RetryBudget(0.0, 0))
    exchange = played.ask()
    exchange.on_hedge_due()
    assert played.attempts == 1
    assert played.metrics.retries_denied == {("shop.default",): 1}


async def test_hedges_are_counted_over_time_too() -> None:
    played = play(budget=RetryBudget(0.0, 1000, 0))
    exchange = played.ask()
    exchange.on_hedge_due()
    assert played.attempts == 1
    assert played.metrics.retries_denied == {("shop.default",): 1}
    played = play(budget=RetryBudget(0.0, 1000, 1))
    played.cluster.budget.spend(time.monotonic())
    for _ in range(9):
        played.ask().on_hedge_due()
    assert played.metrics.retries == {("shop.default", "hedge"): 9}
    played.ask().on_hedge_due()
    assert played.metrics.retries == {("shop.default", "hedge"): 9}


async def test_a_hedge_is_a_request_in_flight_too() -> None:
    """Where there are as many as may be, there is no hedge."""
    played = play()
    exchange = played.ask()
    played.cluster.traffic.asks_from = 1
    exchange.on_hedge_due()
    assert played.attempts == 1


async def test_a_request_that_is_retried_needs_a_place_for_a_hedge_as_well() -> None:
    played = play(attempts=1, budget=RetryBudget(0.0, 1), backoff_base_s=0.001)
    exchange = played.ask()
    assert exchange.hedges is not None
    played.asked.handler.on_head(ResponseHead(503, []), True)
    add_a_third(played)
    await played.attempt(2)
    exchange.on_hedge_due()
    assert played.attempts == 2
    assert played.cluster.budget.retrying == 1


async def test_hedges_are_told_how_long_their_caller_still_waits() -> None:
    played = play(safe_methods=("POST",))
    played.ask(b"POST", content_type=b"application/grpc", grpc_timeout=b"10S")
    first, second = await hedged(played)
    said = [parse_grpc_timeout(upstream.asked[0][0].grpc_timeout or b"") for upstream in (first, second)]
    assert said[1] is not None
    assert 5.0 < said[1] < 10.0 - DELAY_S


async def test_each_hedge_has_the_time_of_one_try_and_what_did_not_answer_is_not_asked_again() -> None:
    played = play(attempts=1, per_try_s=30.0, backoff_base_s=0.001)
    add_a_third(played)
    exchange = played.ask()
    began = exchange._try_timer
    assert began is not None
    played.timers.cancel(began)
    pair = [upstream for upstream in played.upstreams if upstream.asked]
    await until(lambda: played.attempts == 2)
    assert began.timer is not None, "it counts from the hedge on"
    pair = [upstream for upstream in played.upstreams if upstream.asked]
    played.cluster.pick()
    exchange.on_try_timeout()
    last = await played.attempt(3)
    assert last not in pair
    answer(last)
    assert played.active == played.cluster.budget.retrying == 0


async def test_a_request_is_hedged_from_its_end_on_with_its_body() -> None:
    played = play()
    exchange = played.ask(b"PUT", end=False)
    assert exchange.hedges is not None
    assert exchange.hedges.timer.timer is None
    exchange.on_data(b"body", True)
    _, second = await hedged(played)
    assert second.data == b"body"
    assert second.ended


async def test_a_body_that_is_not_kept_is_not_hedged() -> None:
    played = play()
    exchange = played.ask(b"PUT", end=False)
    exchange.on_data(b"x" * 100_000, True)
    exchange.on_hedge_due()
    assert played.attempts == 1


async def test_a_downstream_that_goes_ends_all_attempts() -> None:
    played = play()
    exchange = played.ask()
    pair = await hedged(played)
    exchange.on_reset(ResetReason.CANCELLED)
    assert [upstream.resets for upstream in pair] == [[ResetReason.CANCELLED]] * 2
    assert played.active == played.cluster.budget.retrying == 0


async def test_the_time_of_a_try_ends_all_attempts() -> None:
    played = play(per_try_s=30.0)
    exchange = played.ask()
    pair = await hedged(played)
    exchange.on_try_timeout()
    assert [upstream.resets for upstream in pair] == [[ResetReason.CANCELLED]] * 2
    assert [head.status for head in played.downstream.heads] == [504]
    assert played.active == played.cluster.budget.retrying == 0


async def test_a_slow_downstream_slows_all_attempts() -> None:
    played = play()
    exchange = played.ask()
    pair = await hedged(played)
    exchange.on_writable(False)
    assert [upstream.paused for upstream in pair] == [True, True]
    exchange.on_writable(True)
    assert [upstream.paused for upstream in pair] == [False, False]


async def test_grpc_calls_say_how_many_attempts_there_were() -> None:
    played = play(safe_methods=("POST",))
    played.ask(b"POST", content_type=b"application/grpc")
    await hedged(played)
    said = [
        field_value(head.fields, b"grpc-previous-rpc-attempts")
        for upstream in played.upstreams
        for head, _ in upstream.asked
    ]
    assert b"1" in said
