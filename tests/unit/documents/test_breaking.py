"""Limits, breakers and health checks, as documents name them."""

from __future__ import annotations

from typing import Any

import pytest

from remora.documents.mesh import TrafficPolicy
from remora.documents.parse import parse_raw
from remora.documents.policies import compile_policy
from remora.model.policies import Breaker, Caps, HealthCheck, ServicePolicy


def policy(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "shop"},
        "spec": {"targetRefs": [{"kind": "Service", "name": "shop"}], **spec},
    }


def compiled(**spec: Any) -> ServicePolicy:
    parsed = parse_raw(policy(**spec))
    assert isinstance(parsed, TrafficPolicy)
    return compile_policy(parsed, 1)


def faults(**spec: Any) -> list[str]:
    found = parse_raw(policy(**spec))
    assert isinstance(found, tuple)
    return [error.path for error in found]


def test_what_is_left_out_has_the_models_defaults() -> None:
    found = compiled()
    assert (found.caps, found.breaker, found.health) == (Caps(), None, None)
    found = compiled(limits={}, breaker={}, health={})
    assert (found.caps, found.breaker, found.health) == (Caps(), Breaker(), HealthCheck())


def test_every_field_says_its_part() -> None:
    ratio = {"window": "3s", "volume": 4, "errorPercent": 25, "sleep": "2s", "probes": 3, "enforcement": "Shadow"}
    found = compiled(limits={"connections": 5, "pending": 0, "requests": 7}, breaker={"type": "ErrorRatio", **ratio})
    assert found.caps == Caps(5, 0, 7)
    assert found.breaker == Breaker(
        "error_ratio", window_s=3, volume=4, error_share=0.25, sleep_s=2, probes=3, shadow=True
    )
    found = compiled(breaker={"type": "Consecutive", "per": "Endpoint", "failures": 9})
    assert found.breaker == Breaker("consecutive", per_endpoint=True, failures=9)
    times = {"interval": "2s", "timeout": "100ms", "healthyAfter": 4, "unhealthyAfter": 5, "port": 81}
    http = {"type": "HTTP", "path": "/up", "statuses": {"first": 200, "last": 204}}
    assert compiled(health={**http, **times}).health == HealthCheck("http", "/up", "", 81, 2, 0.1, 4, 5, (200, 204))
    grpc = compiled(health={"type": "GRPC", "service": "shop.v1.Orders"}).health
    assert grpc == HealthCheck("grpc", service="shop.v1.Orders")


def test_fields_without_effect_are_faults() -> None:
    assert faults(breaker={"type": "ErrorRatio", "failures": 3}) == ["spec.breaker.failures"]
    ratio = {"window": "1s", "volume": 3, "errorPercent": 5}
    assert faults(breaker={"type": "Consecutive", **ratio}) == [
        "spec.breaker.window",
        "spec.breaker.volume",
        "spec.breaker.errorPercent",
    ]
    everything = {"path": "/", "statuses": {"first": 200, "last": 299}, "service": "a.B"}
    assert faults(health={"type": "TCP", **everything}) == [
        "spec.health.path",
        "spec.health.statuses",
        "spec.health.service",
    ]
    assert faults(health={"statuses": {"first": 300, "last": 299}}) == ["spec.health.statuses.last"]
    assert faults(health={"service": "a.B"}) == ["spec.health.service"]


@pytest.mark.parametrize(
    "spec",
    [
        {"limits": {"requests": -1}},
        {"limits": {"retries": 3}},
        {"breaker": {"type": "Ratio"}},
        {"breaker": {"sleep": "0s"}},
        {"breaker": {"probes": 0}},
        {"breaker": {"errorPercent": 101}},
        {"health": {"path": "up"}},
        {"health": {"interval": "0s"}},
        {"health": {"type": "GRPC", "service": "/a"}},
    ],
)
def test_bad_values_are_faults(spec: dict[str, Any]) -> None:
    assert len(faults(**spec)) == 1
