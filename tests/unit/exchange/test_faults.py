"""Faults: who gets which, and when none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.base import Origin
from remora.model.limits import Fault
from remora.model.names import service_name
from remora.model.routes import FieldMatch, PathMatch, RouteMatch
from remora.model.snapshot import Service
from remora.sidecar.exchange.faults import FaultGate, FaultGates
from remora.sidecar.exchange.gate import Delayed, Stopped
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

SHOP = service_name("shop")
ORIGIN = Origin("FaultPolicy", "default", "trial")
HEAD = RequestHead(b"GET", b"/", b"shop", [])
NOW = 1000.0


def gate(*faults: Fault) -> FaultGate:
    return FaultGate(Service(SHOP, faults=faults), Metrics())


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_each_fault_has_its_share_of_all_requests_and_no_request_two(percents: list[int]) -> None:
    tried = gate(*(Fault(ORIGIN, share=percent / 100, delay_s=index + 1.0) for index, percent in enumerate(percents)))
    drawn = [tried.draw(HEAD, NOW, (number + 0.5) / 100) for number in range(100)]
    left = 100
    for index, percent in enumerate(percents):
        got = sum(1 for fault in drawn if fault is not None and fault.fault.delay_s == index + 1.0)
        assert got == min(percent, left)
        left -= got


def test_only_requests_that_match_are_touched() -> None:
    beta = RouteMatch(PathMatch("prefix", "/pay"), "POST", (FieldMatch("x-group", "beta"),))
    tried = gate(Fault(ORIGIN, (beta,), status=503))
    assert tried.draw(RequestHead(b"POST", b"/pay/now", b"shop", [(b"X-Group", b"beta")]), NOW, 0.0)
    for method, path, fields in (
        (b"GET", b"/pay", [(b"x-group", b"beta")]),
        (b"POST", b"/payments", [(b"x-group", b"beta")]),
        (b"POST", b"/pay", []),
    ):
        assert tried.draw(RequestHead(method, path, b"shop", fields), NOW, 0.0) is None


@pytest.mark.parametrize(
    "over", [Fault(ORIGIN, status=503, enabled=False), Fault(ORIGIN, status=503, until=NOW)], ids=["off", "expired"]
)
def test_what_is_over_takes_no_share(over: Fault) -> None:
    tried = gate(over, Fault(ORIGIN, share=0.5, delay_s=1.0))
    found = tried.draw(HEAD, NOW, 0.4)
    assert found is not None
    assert found.kind == "delay"
    assert gate(Fault(ORIGIN, status=503, until=NOW)).draw(HEAD, NOW - 1, 0.0) is not None


def test_an_abort_says_who_wants_it_and_comes_after_the_delay() -> None:
    both = gate(Fault(ORIGIN, delay_s=2.0, status=418, grpc_status=8))
    verdict = both.enter(HEAD, 0.0, 0.0)
    assert isinstance(verdict, Delayed)
    assert (verdict.seconds, verdict.flag) == (2.0, "DI")
    assert isinstance(verdict.then, Stopped)
    failure = verdict.then.failure
    assert (failure.flag, failure.status, failure.grpc_status, failure.code) == ("FI", 418, 8, "fault_injected")
    assert verdict.then.detail == "this request fails on purpose: FaultPolicy default/trial says so"


def test_a_gate_stays_as_long_as_its_faults_do() -> None:
    metrics = Metrics()
    gates = FaultGates(metrics)
    service = Service(SHOP, faults=(Fault(ORIGIN, status=503),))
    first = gates.make(service, None)
    assert first is not None
    assert gates.make(Service(SHOP, faults=(Fault(ORIGIN, status=503),)), first) is first
    assert gates.make(Service(SHOP, faults=(Fault(ORIGIN, status=500),)), first) is not first
    assert gates.make(Service(SHOP), first) is None
    first.enter(HEAD, 0.0, 0.0)
    assert metrics.faults == {(SHOP, "default/trial", "abort"): 1}
