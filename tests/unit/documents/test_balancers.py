"""Balancers and localities in TrafficPolicies: what they compile to, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from remora.documents.mesh import TrafficPolicy
from remora.documents.parse import parse_text
from remora.documents.policies import compile_policy
from remora.model.policies import Balancer, HashKey, Locality, ServicePolicy, SlowStart
from tests.support import documents

HASH_ON = [{"type": "Header", "name": "X-User"}]


def compiled(**spec: Any) -> ServicePolicy:
    parsed = parse_text(yaml.safe_dump(documents.traffic_policy("shop", **spec)))
    assert parsed.errors == ()
    (policy,) = parsed.documents
    assert isinstance(policy, TrafficPolicy)
    return compile_policy(policy, 1)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"type": "PeakEWMA"}, Balancer("peak_ewma")),
        (
            {"type": "Maglev", "hashOn": HASH_ON, "boundedLoad": 125},
            Balancer("maglev", hash_on=(HashKey("header", "x-user"),), bounded_load=1.25),
        ),
        (
            {"type": "RoundRobin", "slowStart": {"window": "1m"}, "panicThreshold": 30},
            Balancer("round_robin", slow_start=SlowStart(60.0, 0.1), panic_share=0.3),
        ),
    ],
)
def test_balancers(said: dict[str, Any], meant: Balancer) -> None:
    assert compiled(balancer=said).balancer == meant


def test_localities() -> None:
    assert compiled(locality={"mode": "ZoneFirst", "failover": ["b", "c"]}).locality == Locality(("b", "c"))
    assert compiled(locality={"mode": "Any"}).locality is None
    assert compiled().locality is None


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"balancer": {"type": "RingHash"}}, "spec.balancer.hashOn"),
        ({"balancer": {"type": "Random", "hashOn": HASH_ON}}, "spec.balancer.hashOn"),
        ({"balancer": {"type": "Maglev", "hashOn": [{"type": "Header"}]}}, "spec.balancer.hashOn[0].name"),
        ({"balancer": {"boundedLoad": 125}}, "spec.balancer.boundedLoad"),
        ({"balancer": {"type": "RingHash", "hashOn": HASH_ON, "boundedLoad": 99}}, "spec.balancer.boundedLoad"),
        (
            {"balancer": {"type": "RingHash", "hashOn": HASH_ON, "slowStart": {"window": "1m"}}},
            "spec.balancer.slowStart",
        ),
        ({"balancer": {"panicThreshold": 101}}, "spec.balancer.panicThreshold"),
        ({"balancer": {"slowStart": {"window": "0s"}}}, "spec.balancer.slowStart.window"),
        ({"locality": {"failover": ["b"]}}, "spec.locality.failover"),
        ({"locality": {"mode": "ZoneFirst", "failover": ["b", "b"]}}, "spec.locality.failover[1]"),
    ],
)
def test_what_does_not_go_together_is_refused(spec: dict[str, Any], place: str) -> None:
    parsed = parse_text(yaml.safe_dump(documents.traffic_policy("shop", **spec)))
    assert [error.path for error in parsed.errors] == [place]
