"""What gates say of themselves, and that saying it changes nothing."""

from __future__ import annotations

import time

from remora.model.policies import AdmissionControl
from remora.sidecar.exchange.admission_gate import AdmissionGate
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

HEAD = RequestHead(b"GET", b"/", b"shop", [])


def test_admission_control_says_how_much_it_sheds() -> None:
    gate = AdmissionGate("shop", AdmissionControl(volume=1), Metrics())
    (told,) = gate.explain(HEAD)
    assert told.now == "0 % are shed"
    for _ in range(100):
        gate.leave(Outcome.FAILED, time.monotonic(), 0.1)
    (told,) = gate.explain(HEAD)
    assert told.now == "80 % are shed"
