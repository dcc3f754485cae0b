"""Adaptive concurrency as requests meet it, and as it explains itself."""

from __future__ import annotations

import time

import pytest

from remora.model.base import Origin
from remora.model.names import service_name
from remora.model.policies import AdaptiveConcurrency, ServicePolicy
from remora.model.snapshot import Service
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate, concurrency_maker
from remora.sidecar.exchange.gate import Stopped
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

SHOP = service_name("shop")
HEAD = RequestHead(b"GET", b"/", b"shop", [])
ONE = AdaptiveConcurrency(1, 1, min_rtt_requests=1)


def service(config: AdaptiveConcurrency | None) -> Service:
    return Service(SHOP, policy=ServicePolicy(concurrency=config, origin=Origin("TrafficPolicy", "default", "shop")))


def made(config: AdaptiveConcurrency, metrics: Metrics) -> ConcurrencyGate:
    gate = concurrency_maker(metrics)(service(config), None)
    assert isinstance(gate, ConcurrencyGate)
    return gate


@pytest.mark.parametrize("outcome", Outcome)
def test_a_place_is_free_again_whatever_comes_of_the_request(outcome: Outcome) -> None:
    gate = made(ONE, Metrics())
    for _ in range(5):
        assert gate.enter(HEAD, 1.0, 0.0) is None
        assert gate.in_flight == 1
        stopped = gate.enter(HEAD, 1.0, 0.0)
        assert isinstance(stopped, Stopped)
        assert stopped.detail == "shop.default has 1 requests in flight, as many as it answers in good time"
        gate.leave(outcome, 1.1, 0.1)
    assert gate.in_flight == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_only_good_answers_tell_how_long_good_answers_take(outcome: Outcome) -> None:
    gate = made(AdaptiveConcurrency(3, 9, min_rtt_requests=1), Metrics())
    for seconds in (1, 2):
        now = time.monotonic() + seconds
        gate.enter(HEAD, now, 0.0)
        gate.leave(outcome, now, 0.001)
    assert (gate.limit > 3) is (outcome is Outcome.OK)


def test_shadow_counts_and_lets_through(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    gate = made(AdaptiveConcurrency(1, 1, shadow=True), metrics)
    assert [gate.enter(HEAD, 1.0, 0.0) for _ in range(4)] == [None] * 4
    assert metrics.shadowed == {("shop.default", "concurrency"): 3}
    assert len(caplog.records) == 1
    assert gate.in_flight == 4
    for _ in range(4):
        gate.leave(Outcome.OK, 2.0, 1.0)
    assert gate.in_flight == 0


def test_a_new_snapshot_forgets_nobody_in_flight() -> None:
    metrics = Metrics()
    gate, make = made(ONE, metrics), concurrency_maker(metrics)
    gate.enter(HEAD, 1.0, 0.0)
    assert make(service(AdaptiveConcurrency(2, 2)), gate) is gate
    assert gate.enter(HEAD, 1.0, 0.0) is None
    assert isinstance(gate.enter(HEAD, 1.0, 0.0), Stopped)
    assert make(service(None), gate) is None
