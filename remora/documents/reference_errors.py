"""What is refused, and how that is told: mistakes for the reference, with what the checks themselves say of them.

Types refuse most mistakes, in a few sentences that are the same everywhere; what only a check can see stands with its
kind.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import yaml

from remora.documents.kinds import API_VERSIONS
from remora.documents.load import conflicts
from remora.documents.parse import parse_text

_TARGET = 'targetRefs: [{kind: Service, group: "", name: shop}]'
_PARENT = 'parentRefs: [{kind: Service, group: "", name: shop}]'
_BACKENDS = "backendRefs: [{name: shop}]"
_ROUTE = f"{{{_PARENT}, rules: [{{{_BACKENDS}}}]}}"

BASES = {
    "HTTPRoute": _ROUTE,
    "GRPCRoute": _ROUTE,
    "TrafficPolicy": _TARGET,
    "RateLimitPolicy": _TARGET,
    "FaultPolicy": _TARGET,
    "ReferenceGrant": "",
    "ServiceEndpoints": "service: shop",
}
"""What the examples leave out."""

EVERYWHERE = (
    "TrafficPolicy",
    (
        "retries: {attempts: 1}",
        "retry: {attempts: many}",
        "retry: {attempts: 11}",
        "timeouts: {request: 5}",
        "balancer: {type: LeastRequests}",
        "split: {stickyBy: [{name: x-user}]}",
    ),
)
"""What types refuse, of one kind for all."""

MISTAKES: dict[str, tuple[str, ...]] = {
    "HTTPRoute": (
        "parentRefs: [{name: gate}]",
        "rules: []",
        "rules: [{timeouts: {request: 1s}}]",
        f"rules: [{{matches: [{{path: {{type: RegularExpression, value: '/(a'}}}}], {_BACKENDS}}}]",
        f"rules: [{{matches: [{{path: {{value: shop}}}}], {_BACKENDS}}}]",
        f"rules: [{{timeouts: {{request: 1s, backendRequest: 2s}}, {_BACKENDS}}}]",
        "rules: [{backendRefs: [{name: pay, namespace: elsewhere}]}]",
        f"rules: [{{filters: [{{type: URLRewrite}}], {_BACKENDS}}}]",
        f"rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{}}}}], {_BACKENDS}}}]",
        "rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Host]}}], "
        f"{_BACKENDS}}}]",
        f"rules: [{{filters: [{{type: ExtensionRef, extensionRef: {{}}}}], {_BACKENDS}}}]",
        f"rules: [{{sessionPersistence: {{cookieConfig: {{lifetimeType: Permanent}}}}, {_BACKENDS}}}]",
    ),
    "GRPCRoute": (
        f"rules: [{{matches: [{{method: {{}}}}], {_BACKENDS}}}]",
        f"rules: [{{matches: [{{method: {{type: RegularExpression, service: '(shop'}}}}], {_BACKENDS}}}]",
    ),
    "ReferenceGrant": (
        "{from: [], to: [{kind: Service}]}",
        "{from: [{kind: TCPRoute, namespace: shop}], to: [{kind: Service}]}",
    ),
    "TrafficPolicy": (
        "targetRefs: []",
        "balancer: {type: RingHash}",
        "balancer: {type: Random, boundedLoad: 125}",
        "balancer: {type: Maglev, hashOn: [{type: Cookie}]}",
        "balancer: {type: Maglev, hashOn: [{type: Header, name: x-user, ttl: 1h}]}",
        "locality: {failover: [b]}",
        "breaker: {type: Consecutive, errorPercent: 10}",
        "concurrency: {min: 10, max: 5}",
        "fallback: {}",
        "fallback: {service: shop}",
        "health: {type: TCP, path: /healthz}",
        "health: {statuses: {first: 299, last: 200}}",
    ),
    "RateLimitPolicy": (
        "{}",
        "limits: [{name: all, requests: 0}]",
        "limits: [{name: all, requests: 1, keys: [{type: Header}]}]",
        "external: {address: limiter, domain: shop, descriptors: []}",
        "external: {address: 'limiter:8081', domain: shop, descriptors: []}",
        "external: {address: 'limiter:8081', domain: shop, descriptors: [{entries: [{key: a, type: Path, value: b}]}]}",
    ),
    "FaultPolicy": (
        "faults: [{percent: 5}]",
        "faults: [{abort: {}}]",
        "{faults: [{delay: 1s}], expires: '2026-02-30T00:00:00Z'}",
    ),
    "ServiceEndpoints": ("endpoints: [{address: '10.0.0.7:8080', port: 8080}]",),
}
"""Of each kind: a spec, without what is right in it."""


class NoMistakeError(Exception):
    """An example of a mistake is none."""


def mistakes_everywhere() -> str:
    """Those that types refuse."""
    kind, written = EVERYWHERE
    return "## What is refused everywhere\n\n" + _table(kind, written)


def mistakes_of(kind: str) -> str:
    """Those of one kind; empty where there are none."""
    return "Refused, beside what [types refuse](#what-is-refused-everywhere):\n\n" + _table(kind, MISTAKES[kind])


def _table(kind: str, specs: tuple[str, ...]) -> str:
    lines = ["| in `spec` | what is said |", "|---|---|"]
    lines += [f"| `{_cell(spec)}` | {_cell('<br>'.join(said(kind, spec)))} |" for spec in specs]
    return "\n".join(lines) + "\n"


def said(kind: str, spec: str) -> Iterator[str]:
    """What the checks say of this spec. Raises NoMistakeError."""
    base = yaml.safe_load(BASES[kind]) or {}
    document = {
        "apiVersion": API_VERSIONS[kind],
        "kind": kind,
        "metadata": {"name": "shop"},
        "spec": {**base, **yaml.safe_load(spec)},
    }
    parsed = parse_text(msgspec.json.encode(document).decode(), "")
    errors = parsed.errors or conflicts(parsed.documents)
    if not errors:
        raise NoMistakeError(f"{kind}: {spec}")
    for error in errors:
        yield f"`{error.path}`: {error.message}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
