"""Admission control, adaptive concurrency and fallbacks, as documents name them."""

from __future__ import annotations

from typing import Any

import pytest

from remora.model.policies import AdaptiveConcurrency, AdmissionControl, Fallback, LastGood, StaticAnswer
from remora.sidecar.policy.concurrency import MAX_SAMPLES
from tests.unit.documents.test_breaking import compiled, faults


def test_what_is_left_out_has_the_models_defaults() -> None:
    found = compiled()
    assert (found.admission, found.concurrency, found.fallback) == (None, None, None)
    found = compiled(admission={}, concurrency={}, fallback={"lastGood": {}})
    assert (found.admission, found.concurrency) == (AdmissionControl(), AdaptiveConcurrency())
    assert found.fallback == Fallback(last_good=LastGood())


def test_every_field_says_its_part() -> None:
    shadow = {"enforcement": "Shadow"}
    admission = {"multiplierPercent": 110, "window": "5s", "volume": 7, "maxPercent": 60, **shadow}
    assert compiled(admission=admission).admission == AdmissionControl(1.1, 5, 7, 0.6, shadow=True)
    bounds = {"min": 2, "max": 9, "window": "20ms", "measureEvery": "5s", "bufferPercent": 30, **shadow}
    found = compiled(concurrency={**bounds, "measureRequests": MAX_SAMPLES}).concurrency
    assert found == AdaptiveConcurrency(2, 9, 0.02, 5, MAX_SAMPLES, 0.3, shadow=True)
    answer = {"status": 203, "headers": [{"name": "X-A", "value": "b"}], "body": "sorry"}
    found_fallback = compiled(fallback={"causes": ["Failure", "Timeout"], "answer": answer}).fallback
    assert found_fallback == Fallback(("failure", "timeout"), StaticAnswer(203, (("X-A", "b"),), "sorry"))
    kept = compiled(fallback={"lastGood": {"maxAge": "1m", "maxBytes": 65536}}).fallback
    assert kept == Fallback(last_good=LastGood(60, 65536))
    assert compiled(fallback={"service": "other"}).fallback == Fallback(service="other.default")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        # It would never let through more than it does now.
        ({"admission": {"multiplierPercent": 109}}, "spec.admission.multiplierPercent"),
        # It would never have measured.
        ({"concurrency": {"measureRequests": MAX_SAMPLES + 1}}, "spec.concurrency.measureRequests"),
    ],
)
def test_what_would_never_end_is_refused(spec: dict[str, Any], path: str) -> None:
    assert faults(**spec) == [path]
