"""Admission control as requests meet it, and as it explains itself."""

from __future__ import annotations

import pytest

from remora.model.base import Origin
from remora.model.names import service_name
from remora.model.policies import AdmissionControl, ServicePolicy
from remora.model.snapshot import Service
from remora.sidecar.exchange.admission_gate import AdmissionGate, admission_maker
from remora.sidecar.exchange.gate import Stopped
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

SHOP = service_name("shop")
HEAD = RequestHead(b"GET", b"/", b"shop", [])
ORIGIN = Origin("TrafficPolicy", "default", "shop")


def service(config: AdmissionControl | None) -> Service:
    return Service(SHOP, policy=ServicePolicy(admission=config, origin=ORIGIN))


def failing(config: AdmissionControl, metrics: Metrics) -> AdmissionGate:
    gate = admission_maker(metrics)(service(config), None)
    assert isinstance(gate, AdmissionGate)
    for _ in range(100):
        gate.leave(Outcome.FAILED, 1.0, 0.1)
    return gate


def test_chance_decides_who_is_shed() -> None:
    gate = failing(AdmissionControl(), Metrics())
    shed = gate.enter(HEAD, 1.0, 0.79)
    assert isinstance(shed, Stopped)
    assert (shed.failure.flag, shed.failure.status, shed.fields) == ("AC", 503, [])
    assert shed.detail == "shop.default fails most requests, so 80 % of them are shed: why does it fail?"
    assert gate.enter(HEAD, 1.0, 0.81) is None


def test_who_did_not_wait_for_the_answer_says_nothing() -> None:
    gate = failing(AdmissionControl(volume=101), Metrics())
    for _ in range(50):
        gate.leave(Outcome.UNKNOWN, 1.0, 0.1)
    assert gate.enter(HEAD, 1.0, 0.0) is None


def test_shadow_counts_and_lets_through(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    gate = failing(AdmissionControl(shadow=True), metrics)
    for number in range(40):
        assert gate.enter(HEAD, 1.0 + number / 10, 0.0) is None
    assert metrics.shadowed == {("shop.default", "admission"): 40}
    assert len(caplog.records) == 1
    gate.leave(Outcome.FAILED, 11.5, 0.1)
    assert gate.enter(HEAD, 11.5, 0.0) is None
    assert "40 requests since the last line" in caplog.text.splitlines()[-1]


def test_a_new_snapshot_keeps_what_was_counted() -> None:
    metrics = Metrics()
    gate, make = failing(AdmissionControl(), metrics), admission_maker(metrics)
    assert make(service(AdmissionControl(max_share=0.5)), gate) is gate
    assert isinstance(gate.enter(HEAD, 1.0, 0.49), Stopped)
    assert gate.enter(HEAD, 1.0, 0.51) is None
    assert make(service(None), gate) is None


def test_it_explains_itself() -> None:
    (account,) = failing(AdmissionControl(), Metrics()).explain(HEAD)
    assert (account.name, account.origin, account.missed) == ("admission", ORIGIN, "")
    assert account.says == ("what is over 2 times the good answers is shed, 80 % at most",)
    assert account.now in ("80 % are shed", "0 % are shed"), "by the clock"
