"""What Remora is given in the bench: routes, the endpoint and policies, as people write them."""

from __future__ import annotations

from typing import Any

from bench.backends import ROUTES, Address, route_prefix
from bench.contestants import base
from bench.contestants.base import Job

SERVICE = "bench"
RULES_A_ROUTE = 10
"""Gateway API allows 16 rules in an HTTPRoute; a table of 100 takes several documents."""
_TARGET = {"group": "", "kind": "Service", "name": SERVICE}


def documents(job: Job) -> list[dict[str, Any]]:
    """At the caller all of it; in front of the backend what holds there."""
    routes = [_route(job, first) for first in range(0, ROUTES, RULES_A_ROUTE)]
    policies = [_traffic_policy(), _fault_policy()] if job.hop == "first" else []
    return [_endpoints(job.upstream), *routes, _rate_limit_policy(job), *policies]


def _document(kind: str, spec: dict[str, Any], name: str = SERVICE) -> dict[str, Any]:
    return {"apiVersion": "mesh.remora.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _endpoints(upstream: Address) -> dict[str, Any]:
    endpoints = [{"address": upstream.host, "port": upstream.port}]
    return _document("ServiceEndpoints", {"service": SERVICE, "endpoints": endpoints})


def _traffic_policy() -> dict[str, Any]:
    cap = base.UPSTREAM_CONNECTIONS
    return _document(
        "TrafficPolicy",
        {
            "targetRefs": [_TARGET],
            "limits": {"connections": cap, "pending": cap, "requests": cap},
            "retry": {"budget": {"percent": base.RETRY_BUDGET_PERCENT, "minimum": base.RETRY_BUDGET_MINIMUM}},
            "breaker": {"type": "ErrorRatio", "errorPercent": 50},
            "outlier": {"consecutiveFailures": base.OUTLIER_FAILURES},
            "admission": {},
        },
    )


def _rate_limit_policy(job: Job) -> dict[str, Any]:
    limit = {"name": "all", "requests": base.RATE_LIMIT, "burst": base.RATE_LIMIT}
    enforced_by = "Callers" if job.hop == "first" else "Service"
    return _document("RateLimitPolicy", {"targetRefs": [_TARGET], "enforcedBy": enforced_by, "limits": [limit]})


def _fault_policy() -> dict[str, Any]:
    fault = {"matches": [{"headers": [{"name": base.FAULT_HEADER, "value": "yes"}]}], "abort": {"status": 503}}
    return _document("FaultPolicy", {"targetRefs": [_TARGET], "faults": [fault]})


def _route(job: Job, first: int) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"{SERVICE}-{first}"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": SERVICE}],
            "rules": [_rule(route_prefix(job.family, index)) for index in range(first, first + RULES_A_ROUTE)],
        },
    }


def _rule(prefix: str) -> dict[str, Any]:
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": [{"name": SERVICE, "port": 80}],
        "timeouts": {"request": f"{base.REQUEST_TIMEOUT_S}s"},
        "retry": {"attempts": base.RETRIES, "codes": list(base.RETRY_CODES)},
    }
