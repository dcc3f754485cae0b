"""An exchange from its request to its end, without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remora.model.policies import Balancer, RetryBudget, RetryPolicy, ServicePolicy
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.decision import Discovery, Refusal
from remora.sidecar.exchange.replay import REPLAY_BYTES
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play

OK = ResponseHead(200, [], content_length=2)
GRPC = {"content_type": b"application/grpc"}
GRPC_OK = ResponseHead(200, [(b"content-type", b"application/grpc")])
SAFE = ServicePolicy(balancer=Balancer("round_robin"), retry=RetryPolicy(safe_methods=("/x",)))


async def test_an_answer_goes_through_and_is_counted() -> None:
    play = Play()
    play.ask()
    play.asked.handler.on_head(OK, False)
    play.asked.handler.on_data(b"hi", True)
    assert (play.downstream.heads, play.downstream.data, play.downstream.ended) == ([OK], b"hi", True)
    (labels,) = play.counted
    assert (labels.service, labels.route, labels.method, labels.status, labels.flag) == (
        "shop.default",
        "default",
        "GET",
        "2xx",
        "",
    )
    assert play.active == 0


async def test_interim_heads_go_through_and_do_not_answer() -> None:
    play = Play()
    play.ask()
    early = ResponseHead(103, [])
    play.asked.handler.on_head(early, False)
    assert play.downstream.heads == [early]
    play.asked.handler.on_reset(ResetReason.PEER_RESET)
    await play.attempt(2)


@pytest.mark.parametrize(
    ("method", "reason", "retried"),
    [
        (b"GET", ResetReason.PEER_RESET, True),
        (b"POST", ResetReason.PEER_RESET, False),
        (b"POST", ResetReason.REFUSED, True),
        (b"GET", ResetReason.PROTOCOL_ERROR, False),
    ],
)
async def test_what_is_tried_again_after_a_reset(method: bytes, reason: ResetReason, retried: bool) -> None:
    play = Play()
    play.ask(method)
    first = play.asked
    first.handler.on_reset(reason)
    if retried:
        assert await play.attempt(2) is not first
        assert play.downstream.heads == []
    else:
        assert play.attempts == 1
        assert play.downstream.heads[0].status in (502, 503)
    assert play.active == (1 if retried else 0)


async def test_what_met_a_connection_that_was_closing_is_sent_again_where_it_was_and_costs_no_retry() -> None:
    """Unless it may have been processed, and is not safe."""
    play = Play()
    play.ask()
    first = play.asked
    first.handler.on_reset(ResetReason.CLOSING)
    assert play.asked is first
    assert play.metrics.retries == {("shop.default", "stale connection"): 1}
    assert play.cluster.budget.retrying == 0
    play = Play()
    play.ask(b"POST")
    play.asked.handler.on_reset(ResetReason.CLOSING)
    assert play.attempts == 1
    assert play.downstream.heads[0].status == 503


async def test_attempts_end_with_the_policy() -> None:
    play = Play()
    play.ask()
    for number in (1, 2, 3):
        (await play.attempt(number)).handler.on_reset(ResetReason.PEER_RESET)
    assert play.downstream.heads[0].status == 503
    assert b"upstream_reset" in play.downstream.data
    assert [labels.flag for labels in play.counted] == ["UC"]
    assert sum(play.metrics.retries.values()) == 2


async def test_the_body_is_sent_again() -> None:
    play = Play()
    exchange = play.ask(b"PUT", end=False)
    exchange.on_data(b"one,", False)
    exchange.on_data(b"two", True)
    assert (play.asked.data, play.asked.ended) == (b"one,two", True)
    play.asked.handler.on_head(ResponseHead(503, [], content_length=0), True)
    second = await play.attempt(2)
    assert (second.data, second.ended) == (b"one,two", True)


async def test_a_body_over_the_replay_buffer_is_streamed_and_not_tried_again() -> None:
    play = Play()
    exchange = play.ask(b"PUT", end=False)
    for _ in range(5):
        exchange.on_data(bytes(REPLAY_BYTES // 4), False)
    assert len(play.asked.data) == REPLAY_BYTES // 4 * 5
    play.asked.handler.on_reset(ResetReason.PEER_RESET)
    assert play.downstream.heads[0].status == 503
    assert play.attempts == 1


async def test_while_there_is_no_connection_the_downstream_is_held_back() -> None:
    play = Play()
    for upstream in play.upstreams:
        upstream.connected = False
    exchange = play.ask(b"PUT", end=False)
    exchange.on_data(bytes(REPLAY_BYTES), False)
    assert not play.downstream.paused
    exchange.on_data(b"more", False)
    assert play.downstream.paused
    upstream = play.upstreams[0]
    upstream.connected = True
    pool = next(pool for pool in (endpoint.pool("http1") for endpoint in play.cluster.endpoints) if pool.waiting)
    pool.on_connection_free(upstream)
    assert len(upstream.data) == REPLAY_BYTES + 4
    assert not play.downstream.paused


async def test_a_failed_connect_is_tried_elsewhere_and_told_in_the_end() -> None:
    play = Play()
    for upstream in play.upstreams:
        upstream.connected = False
    play.ask(b"POST")
    await until(lambda: play.downstream.ended)
    assert b"no connection to 127.0.0.1:" in play.downstream.data
    assert sum(play.metrics.retries.values()) == 2
    assert [labels.flag for labels in play.counted] == ["UF"]


async def test_a_failed_connect_needs_no_budget() -> None:
    policy = RetryPolicy(budget=RetryBudget(0.0, 0, 0), backoff_base_s=0.001)
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
    for upstream in play.upstreams:
        upstream.connected = False
    play.ask(b"POST")
    await until(lambda: play.downstream.ended)
    assert play.metrics.retries == {("shop.default", "connect failure"): 2}
    assert not play.metrics.retries_denied
    assert play.cluster.budget.retrying == play.cluster.budget.waiting == 0


async def test_a_refused_stream_needs_a_place_and_is_not_paid_for() -> None:
    for minimum, attempts in ((1, 3), (0, 1)):
        policy = RetryPolicy(budget=RetryBudget(0.0, minimum, 0), backoff_base_s=0.001)
        play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
        play.ask(b"POST")
        for attempt in range(1, attempts + 1):
            (await play.attempt(attempt)).handler.on_reset(ResetReason.REFUSED)
        assert play.downstream.ended
        assert play.attempts == attempts
        assert play.cluster.budget.retrying == play.cluster.budget.waiting == 0


async def test_each_retry_is_paid_for() -> None:
    """Ten within ten seconds, beyond the share: the first request takes them all."""
    policy = RetryPolicy(attempts=10, budget=RetryBudget(0.0, 1, 1), backoff_base_s=0.0001)
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
    for attempts in (*range(1, 12), 12, 13):
        if attempts in (1, 12, 13):
            play.ask()
        (await play.attempt(attempts)).handler.on_head(ResponseHead(503, []), True)
    assert [head.status for head in play.downstream.heads] == [503] * 3
    assert play.metrics.retries_denied == {("shop.default",): 2}
    assert play.cluster.budget.retrying == play.cluster.budget.waiting == 0


async def test_requests_pay_for_retries() -> None:
    policy = RetryPolicy(attempts=10, budget=RetryBudget(0.2, 1, 0), backoff_base_s=0.0001)
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
    for _ in range(9):
        play.ask()
        play.asked.handler.on_head(ResponseHead(200, []), True)
    play.ask()
    for attempts in (10, 11, 12):
        (await play.attempt(attempts)).handler.on_head(ResponseHead(503, []), True)
    assert play.downstream.heads[-1].status == 503
    assert play.metrics.retries_denied == {("shop.default",): 1}


async def test_half_of_one_other_request_is_no_place() -> None:
    policy = RetryPolicy(budget=RetryBudget(0.5, 0, 1000))
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
    play.ask()
    play.ask()
    play.asked.handler.on_head(ResponseHead(503, []), True)
    assert [head.status for head in play.downstream.heads] == [503]
    assert play.cluster.budget.retrying == 0


async def test_no_more_are_retried_at_a_time_than_the_budget_has_places_for() -> None:
    """Half of the others in flight; an answer that is being judged is none of them."""
    policy = RetryPolicy(budget=RetryBudget(0.5, 0, 1000), backoff_base_s=0.0001)
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=policy))
    handlers: list[Any] = []
    for _ in range(4):
        play.ask()
        handlers += [upstream.handler for upstream in play.upstreams if upstream.handler not in (None, *handlers)]
    handlers[0].on_head(ResponseHead(503, []), True)
    assert play.cluster.budget.retrying == 1, "of 3 others"
    handlers[1].on_head(ResponseHead(503, []), True)
    assert play.metrics.retries_denied == {("shop.default",): 1}, "of 2"
    assert play.cluster.budget.retrying == 1


async def test_an_answer_cut_in_the_middle_is_cut_downstream_too() -> None:
    play = Play()
    play.ask()
    play.asked.handler.on_head(ResponseHead(200, [], content_length=9), False)
    play.asked.handler.on_data(b"part", False)
    play.asked.handler.on_reset(ResetReason.PEER_RESET)
    assert play.downstream.resets
    assert not play.downstream.ended
    assert play.attempts == 1
    assert [labels.flag for labels in play.counted] == ["UC"]


async def test_a_downstream_that_goes_cancels_upstream() -> None:
    play = Play()
    exchange = play.ask()
    upstream = play.asked
    exchange.on_reset(ResetReason.CANCELLED)
    assert upstream.resets == [ResetReason.CANCELLED]
    assert [labels.flag for labels in play.counted] == ["DC"]
    assert (play.active, play.downstream.resets) == (0, [])


async def test_an_answer_that_cannot_be_translated_is_the_upstreams_fault() -> None:
    play = Play()
    exchange = play.ask(b"POST", end=False, **GRPC)
    upstream = play.asked
    exchange.on_reset(ResetReason.BAD_ANSWER)
    assert upstream.resets == [ResetReason.CANCELLED]
    assert [labels.flag for labels in play.counted] == ["UPE"]
    assert (play.active, play.downstream.resets) == (0, [])


async def test_an_early_answer_ends_the_request_on_both_sides() -> None:
    play = Play()
    play.ask(b"POST", end=False)
    upstream = play.asked
    upstream.handler.on_head(ResponseHead(413, [], content_length=0), True)
    assert play.downstream.ended
    assert play.downstream.resets == [ResetReason.CANCELLED]
    assert upstream.resets == [ResetReason.CANCELLED]


async def test_backpressure_goes_through_both_ways() -> None:
    play = Play()
    exchange = play.ask(b"POST", end=False)
    play.asked.handler.on_writable(False)
    assert play.downstream.paused
    play.asked.handler.on_writable(True)
    assert not play.downstream.paused
    exchange.on_writable(False)
    assert play.asked.paused
    exchange.on_writable(True)
    assert not play.asked.paused


async def test_a_slow_downstream_stays_slow_for_the_next_attempt() -> None:
    play = Play()
    exchange = play.ask()
    exchange.on_writable(False)
    play.asked.handler.on_reset(ResetReason.PEER_RESET)
    assert (await play.attempt(2)).paused


async def test_a_safe_grpc_answer_waits_for_its_trailers() -> None:
    play = Play(SAFE)
    play.ask(b"POST", **GRPC)
    play.asked.handler.on_head(GRPC_OK, False)
    assert play.downstream.heads == []
    play.asked.handler.on_trailers([(b"grpc-status", b"14")])
    second = await play.attempt(2)
    second.handler.on_head(GRPC_OK, False)
    second.handler.on_data(b"message", False)
    assert play.downstream.heads == [GRPC_OK]
    second.handler.on_trailers([(b"grpc-status", b"0")])
    assert (play.downstream.data, play.downstream.trailers) == (b"message", [(b"grpc-status", b"0")])
    assert [labels.status for labels in play.counted] == ["OK"]


async def test_other_grpc_answers_are_not_held() -> None:
    play = Play()
    play.ask(b"POST", **GRPC)
    play.asked.handler.on_head(GRPC_OK, False)
    assert play.downstream.heads == [GRPC_OK]
    play.asked.handler.on_trailers([(b"grpc-status", b"14")])
    assert play.attempts == 1
    assert [labels.status for labels in play.counted] == ["UNAVAILABLE"]


async def test_refusals_speak_grpc_to_grpc() -> None:
    play = Play()
    play.answer = Refusal(failures.NO_ROUTE, "no route, nein: ü", "shop.default")
    play.ask(b"POST", **GRPC)
    (head,) = play.downstream.heads
    assert (head.status, play.downstream.ended, play.downstream.data) == (200, True, b"")
    assert dict(head.fields)[b"grpc-status"] == b"12"
    assert dict(head.fields)[b"grpc-message"] == b"no route, nein: %C3%BC"


async def test_a_service_that_is_asked_for_is_waited_for() -> None:
    play = Play()
    decision, answer = play.answer, asyncio.get_running_loop().create_future()
    play.answer = Discovery(answer)
    exchange = play.ask(b"POST", end=False)
    exchange.on_data(b"body", True)
    assert play.attempts == 0
    play.answer = decision
    answer.set_result(True)
    assert ((await play.attempt(1)).data, play.asked.ended) == (b"body", True)
    play.asked.handler.on_head(OK, True)
    assert play.downstream.heads == [OK]


async def test_no_endpoint() -> None:
    play = Play()
    play.cluster.update((), play.policy)
    play.ask()
    assert play.downstream.heads[0].status == 503
    assert b"no_healthy_endpoint" in play.downstream.data


async def test_a_failed_head_request_is_answered_without_a_body() -> None:
    play = Play()
    play.cluster.update((), play.policy)
    play.ask(b"HEAD")
    head = play.downstream.heads[0]
    assert (head.status, play.downstream.ended, play.downstream.data) == (503, True, b"")
    assert head.content_length


async def test_messages_of_grpc_are_counted_both_ways() -> None:
    play = Play()
    exchange = play.ask(b"POST", end=False, **GRPC)
    exchange.on_data(b"\x00\x00\x00\x00\x01a", False)
    exchange.on_data(b"\x00\x00\x00\x00\x01b" * 2 + b"\x00\x00", False)
    exchange.on_data(b"\x00\x00\x01c", True)
    play.asked.handler.on_head(GRPC_OK, False)
    play.asked.handler.on_data(b"\x00\x00\x00\x00\x00", False)
    play.asked.handler.on_trailers([(b"grpc-status", b"0")])
    series = play.metrics.grpc["outbound", "shop.default", "/x"]
    assert (series.streams, series.request_messages, series.response_messages) == (1, 4, 1)


async def test_messages_that_come_before_it_is_decided_are_counted() -> None:
    play = Play()
    found, play.answer = play.answer, Discovery(asyncio.get_running_loop().create_future())
    exchange = play.ask(b"POST", end=False, **GRPC)
    exchange.on_data(b"\x00\x00\x00\x00\x01a\x00\x00", False)
    assert not play.metrics.grpc
    assert isinstance(play.answer, Discovery)
    discovery, play.answer = play.answer, found
    discovery.answer.set_result(None)
    await play.attempt(1)
    exchange.on_data(b"\x00\x00\x00", True)
    assert play.metrics.grpc["outbound", "shop.default", "/x"].request_messages == 2


async def test_what_is_not_grpc_has_no_messages() -> None:
    play = Play()
    play.ask(b"POST", end=False, content_type=b"application/grpc-web").on_data(b"\x00\x00\x00\x00\x01a", True)
    assert not play.metrics.grpc
