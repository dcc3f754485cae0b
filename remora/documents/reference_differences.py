"""What people who know Gateway API or Envoy would not expect of a kind; the reference tells it with the kind."""

from __future__ import annotations

_ENVOY = "envoy-differences.md"

_ROUTES = (
    "**Gateway API**: parents are Services (GAMMA), not Gateways. A document with a fault is refused as a whole and "
    "its last good version stays; Gateway API lets a part hold. So a backend in another namespace without a "
    "ReferenceGrant refuses the route, where Gateway API answers 500 (and GAMMA asks for no grant). A backend that "
    "nobody serves yet is no fault: 503 (`UH`), or UNAVAILABLE.",
    "**Gateway API**: a rule needs `backendRefs`, unless it redirects, and each service stands in it once. `hostnames` "
    "narrow a route, where GAMMA has them ignored; a match of the header `Host` does so too. Filters act in one order, "
    "whatever theirs in the list: CORS, redirect, header edits, rewrite; copies for mirrors have the rule's edits.",
)

DIFFERENCES: dict[str, tuple[str, ...]] = {
    "HTTPRoute": (
        *_ROUTES,
        "**Gateway API**: `timeouts.request` begins when the request has come whole, and does not cut a streamed "
        f"answer off ([why]({_ENVOY}#a-streamed-answer-has-no-total)); `backendRequest` ends where the answer begins.",
        "**Gateway API**: what `retry` allows is tried only where it does no harm, whatever its codes say "
        f"([why]({_ENVOY}#what-is-not-safe-is-not-tried-again)).",
        f"**Envoy**: [query parameters are compared decoded]({_ENVOY}#query-parameters-are-compared-decoded), "
        f"[repeated fields as one]({_ENVOY}#a-repeated-field-is-matched-as-one); "
        f"[a rule edits before its backend does]({_ENVOY}#a-rule-edits-a-request-before-its-backend-does); "
        f"[what a mirror gets]({_ENVOY}#a-copy-for-a-mirror-is-not-what-a-backend-made-of-it); "
        f"[the port of a redirect]({_ENVOY}#a-redirect-to-another-host-keeps-the-port).",
    ),
    "GRPCRoute": (
        *_ROUTES,
        "**Gateway API**: HTTPRoutes of the service hold beside its GRPCRoutes, for what those leave; Gateway API "
        "takes one kind for a service and ignores the other.",
        f"**Envoy**: [the status of a unary call may come in its trailers]({_ENVOY}"
        "#the-status-of-a-unary-call-may-come-in-its-trailers), and is retried; "
        f"[a call that is out of time ends with DEADLINE_EXCEEDED]({_ENVOY}"
        "#a-call-that-is-out-of-time-ends-with-deadline_exceeded).",
    ),
    "ReferenceGrant": (
        "**Gateway API**: a route for callers of its own namespace needs no grant to send requests to the very service "
        "that it is for. Routes and Services alone are known; other kinds are refused.",
    ),
    "TrafficPolicy": (
        f"**Envoy**: [what is not safe is not tried again]({_ENVOY}#what-is-not-safe-is-not-tried-again), "
        f"[a server that asks to wait is obeyed]({_ENVOY}#a-server-that-asks-to-wait-is-obeyed), "
        f"[a long body is sent once]({_ENVOY}#a-long-body-is-sent-once), "
        f"[`Reset` is neither a failed connect nor a refused stream]({_ENVOY}"
        "#a-reset-is-neither-a-failed-connect-nor-a-refused-stream). "
        "Budget, backoff, balancers, zones, slow start, limits, health checks, admission and concurrency: "
        f"[one by one]({_ENVOY}#not-compared). Breakers that open and close, and fallbacks, Envoy has none of.",
    ),
    "RateLimitPolicy": (
        "**Envoy**: tokens come as time goes, not at intervals; a request that one limit refuses uses up no other; a "
        f"quota of all instances needs no service that is asked. [One by one]({_ENVOY}#not-compared).",
    ),
    "FaultPolicy": (
        "**Envoy**: several faults of a service have their shares side by side; a delay is part of the request's time; "
        f"no request can ask for a fault by itself. [One by one]({_ENVOY}#not-compared).",
    ),
}
"""One sentence or more each."""


def differences_of(kind: str) -> str:
    """As a list; empty where there is nothing to compare with."""
    told = DIFFERENCES.get(kind, ())
    return "Otherwise than elsewhere:\n\n" + "".join(f"* {each}\n" for each in told) if told else ""
