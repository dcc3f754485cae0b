"""What another sidecar has turned away goes elsewhere, whatever its method is; what only looks so does not."""

from __future__ import annotations

import pytest

from remora.model.policies import AdaptiveConcurrency, Balancer, Breaker, Hedging, RetryPolicy, ServicePolicy
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.failures import CONCURRENCY_LIMIT, CONNECT_FAILURE, TIMEOUT, Failure, answer
from remora.sidecar.exchange.unprocessed import UNPROCESSED_FIELD, telling
from remora.sidecar.policy.breaker import BreakerState
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import ResetReason
from tests.unit.exchange.played import Play, Upstream

QUICK = RetryPolicy(attempts=1, backoff_base_s=0.0001)
SPAN = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"


def play(retry: RetryPolicy = QUICK, breaker: Breaker | None = None) -> Play:
    return Play(ServicePolicy(balancer=Balancer("round_robin"), retry=retry, breaker=breaker))


def refusal(failure: Failure, head: RequestHead, span: bytes | None = None) -> ResponseHead:
    """What the other sidecar says to a request of this head."""
    said, _ = answer(failure, head, "no")
    said.fields += telling(span or head.trace_parent)
    return said


def head_of(upstream: Upstream) -> RequestHead:
    return upstream.asked[-1][0]


@pytest.mark.parametrize(
    ("failure", "reason"), [(CONCURRENCY_LIMIT, "refused stream"), (CONNECT_FAILURE, "connect failure")]
)
@pytest.mark.parametrize("kind", [None, b"application/grpc"])
async def test_what_was_turned_away_goes_elsewhere(failure: Failure, reason: str, kind: bytes | None) -> None:
    played = play()
    exchange = played.ask(b"POST", content_type=kind)
    first = played.asked
    first.handler.on_head(refusal(failure, head_of(first)), True)
    second = await played.attempt(2)
    assert second is not first
    second.handler.on_head(ResponseHead(200, [(b"grpc-status", b"0")]), True)
    assert exchange.done
    assert played.downstream.heads[-1].status == 200
    assert played.metrics.retries == {("shop.default", reason): 1}
    assert played.active == 0


@pytest.mark.parametrize("kind", [None, b"application/grpc"])
@pytest.mark.parametrize("span", [SPAN, b"x", b""])
async def test_what_another_one_was_told_proves_nothing(span: bytes, kind: bytes | None) -> None:
    """An app that passes on the answer that it got itself may have executed the request before."""
    played = play()
    exchange = played.ask(b"POST", content_type=kind)
    upstream = played.asked
    said = refusal(CONCURRENCY_LIMIT, head_of(upstream), SPAN)
    said.fields = [(name, span if name == UNPROCESSED_FIELD else value) for name, value in said.fields]
    upstream.handler.on_head(said, True)
    assert exchange.done
    assert played.attempts == 1
    assert sum(endpoint.outlier.failures for endpoint in played.cluster.endpoints) == 1


async def test_who_names_no_refused_streams_tries_by_the_status_alone() -> None:
    for method, attempts in ((b"POST", 1), (b"GET", 2)):
        played = play(RetryPolicy(attempts=1, backoff_base_s=0.0001, on_refused=False))
        played.ask(method)
        played.asked.handler.on_head(refusal(CONCURRENCY_LIMIT, head_of(played.asked)), True)
        if attempts == 2:
            await played.attempt(2)
        assert played.attempts == attempts


async def test_an_instance_that_is_full_is_not_broken() -> None:
    """Nor is it proved to be well: what it was accused of before still stands."""
    played = play(RetryPolicy(attempts=0), Breaker("consecutive", failures=3, sleep_s=60))
    for failure, answers in ((CONNECT_FAILURE, 2), (CONCURRENCY_LIMIT, 20), (CONNECT_FAILURE, 1)):
        for _ in range(answers):
            assert played.cluster.breakers.state is BreakerState.CLOSED
            played.ask(b"POST")
            asked = played.asked
            asked.handler.on_head(refusal(failure, head_of(asked)), True)
            assert played.downstream.heads[-1].status == 503
    assert played.cluster.breakers.state is BreakerState.OPEN
    assert sum(endpoint.outlier.failures for endpoint in played.cluster.endpoints) == 3
    assert played.active == 0
    played.cluster.abort()


@pytest.mark.parametrize(("failure", "counted"), [(CONCURRENCY_LIMIT, 2), (CONNECT_FAILURE, 3)])
async def test_that_it_went_well_elsewhere_changes_nothing_about_it(failure: Failure, counted: int) -> None:
    played = play()
    for endpoint in played.cluster.endpoints:
        endpoint.outlier.failures = 2
    played.ask(b"POST")
    first = played.asked
    first.handler.on_head(refusal(failure, head_of(first)), True)
    (await played.attempt(2)).handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert sorted(endpoint.outlier.failures for endpoint in played.cluster.endpoints) == [0, counted]
    passed_over = [endpoint.passed_over_until > 0 for endpoint in played.cluster.endpoints]
    assert sum(passed_over) == (failure is CONCURRENCY_LIMIT)


async def test_what_a_gate_stops_is_told_to_who_asked() -> None:
    played = play()
    gate = ConcurrencyGate("shop.default", AdaptiveConcurrency(1, 1), Metrics())
    gate.enter(RequestHead(b"GET", b"/", b"shop", []), 1.0, 0.0)
    assert isinstance(played.answer, Decision)
    played.answer = played.answer.with_gates((gate,))
    played.ask(b"POST", trace_parent=SPAN)
    assert field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD) == b"b" * 16
    played.ask(b"POST")
    assert field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD) is None, "there is no span to tell"


async def test_what_may_have_been_executed_is_not_told() -> None:
    for reason, proves in ((ResetReason.REFUSED, True), (ResetReason.INTERNAL, False)):
        played = play()
        exchange = played.ask(trace_parent=SPAN)
        first = played.asked
        first.handler.on_reset(reason)
        played.cluster.update((), played.policy)  # and there is nobody else
        await played.done(exchange)
        told = field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD)
        assert (told is not None) is proves
    for reason, proves in ((ResetReason.STALE, True), (ResetReason.CLOSING, False)):
        played = play(RetryPolicy(attempts=0))
        exchange = played.ask(trace_parent=SPAN)
        played.asked.handler.on_reset(reason)
        played.asked.handler.on_connect_failure("gone")
        assert exchange.done
        told = field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD)
        assert (told is not None) is proves
    played = play(RetryPolicy(attempts=0, hedging=Hedging(10)))
    played.cluster.update((), played.policy)
    played.ask(trace_parent=SPAN)
    assert field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD) is None
    played = play()
    played.ask(trace_parent=SPAN).on_timeout(TIMEOUT, 1.0, past_deadline=False)
    assert played.downstream.heads[-1].status == 504
    assert field_value(played.downstream.heads[-1].fields, UNPROCESSED_FIELD) is None
