"""A request whose service does not answer: what takes the place of the failure, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from remora.model.base import Origin
from remora.model.limits import Fault
from remora.model.names import ServiceName
from remora.model.policies import (
    AdmissionControl,
    Balancer,
    Fallback,
    Hedging,
    LastGood,
    RetryPolicy,
    ServicePolicy,
    StaticAnswer,
)
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.exchange.admission_gate import AdmissionGate
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.failures import TIMEOUT
from remora.sidecar.exchange.fallback import FallbackRule
from remora.sidecar.exchange.faults import FaultGate
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.exchange.replay import REPLAY_BYTES
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Clusters
from remora.sidecar.wire.heads import RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play, Upstream

ALL = ("no_endpoint", "breaker", "failure", "timeout")
OTHER = ServiceName("other.default")
SORRY = StaticAnswer(203, (("x-a", "b"),), "sorry")


class Watched:
    """Gates that hear how requests have gone, and shed none: one counts all, the other those that failed."""

    def __init__(self) -> None:
        every, failed = (
            AdmissionControl(multiplier=multiplier, volume=1, max_share=1.0, shadow=True) for multiplier in (0.0, 1.0)
        )
        self.gates = (AdmissionGate(OTHER, every, Metrics()), AdmissionGate(OTHER, failed, Metrics()))

    @property
    def heard(self) -> tuple[int, int]:
        """Requests that went well, and those that failed."""
        every, failed = (self._count(gate) for gate in self.gates)
        return every - failed, failed

    def _count(self, gate: AdmissionGate) -> int:
        # One that is asked for its share tells n / (n + 1).
        [account] = gate.explain(RequestHead(b"GET", b"/", b"a", []))
        share = float(account.now.partition(" ")[0]) / 100
        return round(share / (1 - share))


def aborting(status: int) -> Service:
    return Service(OTHER, faults=(Fault(Origin("FaultPolicy", "default", "f"), status=status),))


def delaying(seconds: float) -> Service:
    return Service(OTHER, faults=(Fault(Origin("FaultPolicy", "default", "f"), delay_s=seconds),))


class FallingPlay(Play):
    """Beside the two endpoints there is one of another service."""

    def __init__(self, retry: RetryPolicy | None = None, **fallback: Any) -> None:
        policy = ServicePolicy(balancer=Balancer("round_robin"), retry=retry or RetryPolicy(attempts=0))
        super().__init__(policy)
        self.clusters = Clusters(Metrics())
        elsewhere = EndpointSet(OTHER, (Endpoint("o", "127.0.0.1", 3),))
        self.clusters.update(Snapshot(1, {OTHER: Service(OTHER, policy=policy)}, {OTHER: elsewhere}))
        self.other = Upstream()
        found = self.clusters.get(OTHER)
        assert found is not None
        found.endpoints[0].pool("http1").on_connection_free(self.other)
        self.before_other: tuple[Gate, ...] = ()
        self.others = Watched()
        self.rule = FallbackRule(
            Fallback(on=ALL, **fallback), self.clusters, lambda _: (*self.before_other, *self.others.gates)
        )
        self.gates = Watched()
        assert isinstance(self.answer, Decision)
        self.answer = self.answer.with_gates(self.gates.gates)
        self.answer.fallback = self.rule

    @property
    def kind(self) -> bytes | None:
        return field_value(self.downstream.heads[-1].fields, b"x-mesh-fallback")


async def test_a_failed_answer_is_not_passed_on() -> None:
    played = FallingPlay(answer=SORRY)
    exchange = played.ask()
    upstream = played.asked
    upstream.handler.on_head(ResponseHead(500, []), False)
    assert exchange.done
    assert [head.status for head in played.downstream.heads] == [203]
    assert (played.kind, played.downstream.data) == (b"answer", b"sorry")
    assert upstream.resets == [ResetReason.CANCELLED], "nobody reads the rest of it"
    assert played.active == 0
    assert played.gates.heard == (0, 1), "the service has failed, whatever its caller got"
    assert [(labels.service, labels.status, labels.flag) for labels in played.counted] == [("shop.default", "2xx", "")]
    assert played.metrics.fallbacks == {("shop.default", "failure", "answer"): 1}


async def test_a_complete_failed_answer_leaves_its_connection_alone() -> None:
    played = FallingPlay(answer=SORRY)
    played.ask()
    upstream = played.asked
    upstream.handler.on_head(ResponseHead(500, []), True)
    assert (played.kind, upstream.resets) == (b"answer", [])


async def test_retries_come_first() -> None:
    played = FallingPlay(RetryPolicy(attempts=1, backoff_base_s=0.001), answer=SORRY)
    played.ask()
    played.asked.handler.on_head(ResponseHead(503, []), True)
    assert not played.downstream.heads
    second = await played.attempt(2)
    second.handler.on_head(ResponseHead(503, []), True)
    assert played.kind == b"answer"
    assert played.cluster.budget.retrying == 0


async def test_the_other_service_gets_the_whole_body_as_it_comes() -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask(b"PUT", end=False)
    exchange.on_data(b"one ", False)
    upstream = played.asked
    upstream.handler.on_reset(ResetReason.INTERNAL)
    assert not exchange.done
    exchange.on_data(b"two", True)
    assert (played.other.data, played.other.ended) == (b"one two", True)
    played.other.handler.on_head(ResponseHead(200, [], content_length=2), False)
    played.other.handler.on_data(b"ok", True)
    assert (played.kind, played.downstream.data) == (b"service", b"ok")
    assert played.gates.heard == (0, 1)
    (labels,) = played.counted
    assert (labels.service, labels.status, labels.flag) == ("shop.default", "2xx", "UC")


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_what_may_have_been_executed_is_not_executed_again(method: bytes) -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask(method)
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    assert len(played.other.asked) == (method == b"GET")
    assert exchange.done == (method == b"POST")


async def test_there_is_one_fallback() -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask()
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    played.other.handler.on_head(ResponseHead(500, [], content_length=0), True)
    assert exchange.done
    assert (played.downstream.heads[-1].status, played.kind) == (500, b"service")
    assert played.metrics.fallbacks == {("shop.default", "failure", "service"): 1}


async def test_the_other_service_is_protected_from_those_who_fall_back() -> None:
    played = FallingPlay(service=OTHER)
    played.ask()
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    played.other.handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert played.others.heard == (1, 0)

    played = FallingPlay(service=OTHER)
    played.before_other = (FaultGate(aborting(503), Metrics()),)
    exchange = played.ask()
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    assert exchange.done
    assert (played.downstream.heads[-1].status, played.other.asked, played.others.heard) == (503, [], (0, 0))
    assert played.gates.heard == (0, 1)


async def test_what_waits_before_a_gate_does_not_go_on_once_it_has_fallen_back() -> None:
    played = FallingPlay(service=OTHER)
    assert isinstance(played.answer, Decision)
    played.answer = played.answer.with_gates((FaultGate(delaying(0.01), Metrics()),))
    exchange = played.ask()
    exchange.on_timeout(TIMEOUT, 1.0, past_deadline=False)
    assert len(played.other.asked) == 1
    # Later than the delay on the same clock, so it has run out by then.
    await asyncio.sleep(0.03)
    assert (len(played.other.asked), played.attempts) == (1, 0)
    played.other.handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert exchange.done
    assert not any(cluster.active for cluster in played.clusters)


@pytest.mark.parametrize("kept_back", [True, False])
async def test_what_never_went_there_says_nothing_of_the_service(kept_back: bool) -> None:
    played = FallingPlay(answer=SORRY)
    if not kept_back:
        played.rule.causes = frozenset()
    played.cluster.update((), played.policy)
    played.ask()
    assert played.downstream.heads[-1].status == (203 if kept_back else 503)
    assert played.gates.heard == (0, 0)


async def test_a_tunnel_that_falls_back_has_the_time_of_a_new_request() -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask(end=False, upgrade=b"websocket")
    played.asked.handler.on_head(ResponseHead(503, []), True)
    assert 14 < exchange.time_left() <= 15
    played.other.handler.on_head(ResponseHead(101, []), False)
    assert (played.downstream.heads[-1].status, played.kind) == (101, b"service")
    assert (played.gates.heard, played.others.heard) == ((0, 1), (1, 0))
    exchange.on_reset(ResetReason.CANCELLED)
    assert not any(cluster.active for cluster in played.clusters)
    assert (played.gates.heard, played.others.heard) == ((0, 1), (1, 0)), "each has heard once"


async def test_a_call_that_nobody_waits_for_goes_nowhere_else() -> None:
    played = FallingPlay(RetryPolicy(attempts=0, safe_methods=("/x",)), service=OTHER)
    exchange = played.ask(b"POST", content_type=b"application/grpc", grpc_timeout=b"1m")
    await played.done(exchange)
    assert field_value(played.downstream.heads[-1].fields, b"grpc-status") == b"4"
    assert played.other.asked == []


async def test_a_caller_that_was_slowed_down_goes_on_elsewhere() -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask(b"PUT", end=False)
    exchange.on_data(b"one", False)
    played.asked.handler.on_writable(False)
    assert played.downstream.paused
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    assert not played.downstream.paused


async def test_what_is_sent_already_and_not_kept_goes_nowhere_else() -> None:
    played = FallingPlay(service=OTHER)
    exchange = played.ask(b"PUT", end=False)
    exchange.on_data(b"x" * (REPLAY_BYTES + 1), False)
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    assert exchange.done
    assert (played.downstream.heads[-1].status, played.other.asked) == (503, [])


async def test_the_other_service_has_its_own_rules_of_tries() -> None:
    played = FallingPlay(RetryPolicy(attempts=1, backoff_base_s=0.0001, per_try_s=10.0), service=OTHER)
    played.ask()
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    (await played.attempt(2)).handler.on_reset(ResetReason.INTERNAL)
    assert len(played.other.asked) == 1
    played.other.handler.on_reset(ResetReason.INTERNAL)
    await until(lambda: len(played.other.asked) == 2)  # as if there had been no try before
    played.other.handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert played.kind == b"service"
    assert played.cluster.budget.retrying == 0

    played = FallingPlay(RetryPolicy(attempts=0, per_try_s=0.01), service=OTHER)
    assert isinstance(played.answer, Decision)
    played.answer.retry = RetryPolicy(attempts=0)
    exchange = played.ask()
    played.asked.handler.on_reset(ResetReason.INTERNAL)
    await played.done(exchange)
    assert (played.downstream.heads[-1].status, played.kind) == (504, b"service")
    assert exchange.time_left() > 0, "that of the request was not over"


async def test_an_answer_without_content_has_no_length() -> None:
    played = FallingPlay(answer=StaticAnswer(204))
    played.ask()
    played.asked.handler.on_head(ResponseHead(500, []), True)
    assert (played.downstream.heads[-1].content_length, played.downstream.ended) == (None, True)


async def test_the_last_of_hedged_attempts_falls_back() -> None:
    played = FallingPlay(RetryPolicy(attempts=0, codes=(), hedging=Hedging(0.001)), service=OTHER)
    played.ask()
    first = played.asked
    await played.attempt(2)
    (second,) = (upstream for upstream in played.upstreams if upstream is not first)
    first.handler.on_head(ResponseHead(500, []), True)
    assert not played.other.asked, "the other may still do"
    second.handler.on_head(ResponseHead(500, []), True)
    assert (played.active, played.cluster.budget.retrying) == (0, 0)
    assert len(played.other.asked) == 1


async def test_no_hedge_is_left_behind_when_the_time_is_over() -> None:
    played = FallingPlay(RetryPolicy(attempts=0, hedging=Hedging(0.001)), answer=SORRY)
    exchange = played.ask()
    await played.attempt(2)
    exchange.on_timeout(TIMEOUT, 1.0, past_deadline=False)
    assert played.kind == b"answer"
    assert (played.active, played.cluster.budget.retrying) == (0, 0)


async def test_an_answer_that_ends_early_is_not_kept() -> None:
    played = FallingPlay(last_good=LastGood())
    exchange = played.ask()
    played.asked.handler.on_head(ResponseHead(200, []), False)
    played.asked.handler.on_data(b"half", False)
    exchange.on_reset(ResetReason.CANCELLED)
    assert played.rule.cache is not None
    assert played.rule.cache.size == 0


async def test_what_is_asked_for_by_content_is_neither_kept_nor_given() -> None:
    played = FallingPlay(last_good=LastGood())
    cache = played.rule.cache
    assert cache is not None
    for end_first in (False, True):
        exchange = played.ask(end=False)
        if end_first:
            exchange.on_data(b"query", True)
        played.asked.handler.on_head(ResponseHead(200, [], content_length=0), True)
        assert exchange.done
        assert cache.size == 0
    played.ask()
    played.asked.handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert cache.size > 0
    exchange = played.ask(end=False)
    exchange.on_data(b"query", True)
    played.asked.handler.on_head(ResponseHead(500, [], content_length=0), True)
    assert (played.downstream.heads[-1].status, played.kind) == (500, None)


async def test_what_is_written_to_is_forgotten() -> None:
    played = FallingPlay(last_good=LastGood())
    cache = played.rule.cache
    assert cache is not None
    played.ask()
    played.asked.handler.on_head(ResponseHead(200, [], content_length=0), True)
    assert cache.size > 0
    played.ask(b"PUT", end=False).on_data(b"new", True)
    played.asked.handler.on_head(ResponseHead(204, []), True)
    assert cache.size == 0


async def test_grpc_calls_get_no_text() -> None:
    played = FallingPlay(answer=SORRY)
    played.ask(b"POST", content_type=b"application/grpc")
    played.asked.handler.on_head(ResponseHead(200, [(b"grpc-status", b"14")]), True)
    assert field_value(played.downstream.heads[-1].fields, b"grpc-status") == b"14"
    assert played.metrics.fallbacks == {}
