"""The one taxonomy of failures that the mesh answers itself.

Each has Envoy's response flag, an HTTP status, a gRPC status, a stable code for machines, and a sentence for people.
"""

from __future__ import annotations

import dataclasses
import math

from remora.sidecar.upstream.room import Limit
from remora.sidecar.wire.grpc import status_fields
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.problem import ERROR_FIELD, problem


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure. `sentence` says what to look at; its {fields} are filled in where it happens."""

    flag: str
    status: int
    grpc_status: int
    code: str
    sentence: str


NO_ROUTE = Failure("NR", 404, 12, "no_route", "no route of {service} matches {method} {path}: look at its routes")
NO_BACKEND = Failure(
    "NR", 500, 14, "no_backend", "route {route} of {service} sends no traffic anywhere: all weights are 0"
)
NO_ENDPOINT = Failure("UH", 503, 14, "no_healthy_endpoint", "{service} has no endpoint: is an instance registered?")
NOT_IN_REGISTRY = Failure(
    "NR", 502, 14, "not_in_registry", "{authority} is not a service of the mesh, and others are refused (registry-only)"
)
BAD_AUTHORITY = Failure("NR", 400, 3, "bad_authority", "the authority {authority!r} is not HOST or HOST:PORT")
LOOP = Failure("NR", 508, 9, "loop", "{authority} is this sidecar itself: the request would run in circles")
CONNECT_FAILURE = Failure("UF", 503, 14, "connect_failure", "{service}: {reason}")
UPSTREAM_RESET = Failure(
    "UC", 503, 14, "upstream_reset", "{service}: the connection ended before a response ({reason})"
)
UPSTREAM_PROTOCOL = Failure("UPE", 502, 13, "upstream_protocol", "{service}: the upstream broke the protocol")
TIMEOUT = Failure("UT", 504, 4, "timeout", "{service} did not answer within {seconds:g} s")
IDLE_TIMEOUT = Failure("SI", 504, 4, "idle_timeout", "{service}: nothing was said for {seconds:g} s")
FAULT = Failure("FI", 503, 14, "fault_injected", "this request fails on purpose: {policy} says so")
ADMISSION_SHED = Failure(
    "AC",
    503,
    14,
    "admission_shed",
    "{service} fails most requests, so {percent:.0f} % of them are shed: why does it fail?",
)
CONCURRENCY_LIMIT = Failure(
    "CL", 503, 14, "concurrency_limit", "{service} has {limit} requests in flight, as many as it answers in good time"
)
RATE_LIMITED_ELSEWHERE = Failure(
    "RL", 429, 8, "rate_limited", "{service} takes no more requests of this kind now (limit {limit}): come back later"
)
LIMITER_FAILED = Failure(
    "RLSE", 503, 14, "limiter_failed", "{service}: its rate limit service at {address} did not answer: does it run?"
)
RATE_LIMITED = Failure(
    "RL", 429, 8, "rate_limited", "{service} takes {requests} requests in {per_s:g} s (limit {limit}): come back later"
)
REQUESTS_OVERFLOW = Failure(
    "UO", 503, 14, "requests_overflow", "{service}: {most} requests are in flight, no more are let by {document}"
)
PENDING_OVERFLOW = Failure(
    "UO", 503, 14, "pending_overflow", "{service}: {most} requests wait for a connection, no more are let by {document}"
)
CONNECTIONS_OVERFLOW = Failure(
    "UO", 503, 14, "connections_overflow", "{service}: {most} connections are open, no more are let by {document}"
)
BREAKER_OPEN = Failure(
    "UO",
    503,
    14,
    "breaker_open",
    "{service}: too many requests failed, so none are sent for up to {wait_s:.3g} s more, by {document}",
)
INTERNAL = Failure("", 500, 13, "internal", "the sidecar failed; its log says how")

DOWNSTREAM_GONE_FLAG = "DC"
OVERFLOW_FLAG = "UO"
FAULT_DELAY_FLAG = "DI"

NOT_SENT = frozenset(
    failure.flag
    for failure in (
        NO_ENDPOINT,
        FAULT,
        ADMISSION_SHED,
        CONCURRENCY_LIMIT,
        RATE_LIMITED,
        LIMITER_FAILED,
        BREAKER_OPEN,
        PENDING_OVERFLOW,
    )
)
"""Flags of requests that the service has not had, at least not in the end: they say nothing of how it is."""

NOT_EXECUTED = NOT_SENT | {CONNECT_FAILURE.flag}
"""Flags of requests that nobody has executed, or that may be executed twice: they may go elsewhere, whatever their
method is."""

OF_LIMIT: dict[Limit, Failure] = {
    "requests": REQUESTS_OVERFLOW,
    "pending": PENDING_OVERFLOW,
    "connections": CONNECTIONS_OVERFLOW,
    "breaker": BREAKER_OPEN,
}


def retry_after(head: RequestHead, seconds: float) -> Fields:
    """Fields that ask the one who sent `head` to wait before another try (RFC 9110 §10.2.3, gRFC A6)."""
    if head.is_grpc:
        return [(b"grpc-retry-pushback-ms", b"%d" % math.ceil(seconds * 1000))]
    return [(b"retry-after", b"%d" % max(1, math.ceil(seconds)))]


def answer(failure: Failure, head: RequestHead, detail: str) -> tuple[ResponseHead, bytes]:
    """Head and body of the answer to a request that failed: Trailers-Only for gRPC, else problem+json."""
    request_id = (head.request_id or b"").decode("latin-1")
    if not head.is_grpc:
        return problem(failure.status, failure.code, detail, request_id)
    return ResponseHead(200, [(b"content-type", b"application/grpc"), *grpc_trailers(failure, detail)]), b""


def grpc_trailers(failure: Failure, detail: str) -> Fields:
    """How a gRPC call ends that failed, be it before its answer or within it."""
    return [*status_fields(failure.grpc_status, detail), (ERROR_FIELD, failure.code.encode())]
