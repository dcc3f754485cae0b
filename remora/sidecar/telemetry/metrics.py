"""What the sidecar counts. The hot path adds to slots; `exposition.py` renders them when someone scrapes."""

from __future__ import annotations

import bisect
from typing import NamedTuple

from remora.model.grpc import GRPC_STATUS_NAMES
from remora.sidecar.telemetry.grpc import MAX_GRPC_SERIES, GrpcSeries
from remora.sidecar.telemetry.tcp import MAX_SERVER_NAMES, TcpSeries

DURATION_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, as Prometheus' `le`; the last bucket, +Inf, has no entry here."""

MAX_SERIES = 5_000
"""Series of requests that are kept apart; what comes after goes to one series of `other` and is counted."""

STATUS_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx")

REFUSED_FLAG = "DPE"
"""Envoy's DownstreamProtocolError: what came is no good HTTP."""

_OTHER = "other"


class RequestLabels(NamedTuple):
    """What requests are counted by."""

    direction: str
    service: str
    peer: str
    route: str
    method: str
    status: str
    flag: str


class RequestSeries:
    """The slots of one combination of labels."""

    __slots__ = ("buckets", "count", "request_bytes", "response_bytes", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.request_bytes = 0
        self.response_bytes = 0

    def observe(self, seconds: float, request_bytes: int, response_bytes: int) -> None:
        """Count one request."""
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect.bisect_left(DURATION_BUCKETS_S, seconds)] += 1
        self.request_bytes += request_bytes
        self.response_bytes += response_bytes


class Metrics:
    """All counters of one sidecar."""

    __slots__ = (
        "breakers",
        "config_rejected",
        "connections",
        "detected",
        "ejections",
        "fallbacks",
        "faults",
        "grpc",
        "health_checks",
        "limiter_failures",
        "mirrored",
        "overflowed",
        "ratelimited",
        "requests",
        "retries",
        "retries_denied",
        "server_names",
        "shadowed",
        "tcp",
    )

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str, str, str, str, str], RequestSeries] = {}
        """By the values of RequestLabels, in their order."""
        self.retries: dict[tuple[str, str], int] = {}
        """By (service, reason)."""
        self.retries_denied: dict[tuple[str], int] = {}
        """By (service,): retries that the budget had no room for."""
        self.ejections: dict[tuple[str], int] = {}
        """By (service,)."""
        self.health_checks: dict[tuple[str, str], int] = {}
        """By (service, result): `passed` or `failed`."""
        self.ratelimited: dict[tuple[str, str, str], int] = {}
        """By (service, limit, enforcement): requests over a limit, refused (`enforce`) or not (`shadow`)."""
        self.breakers: dict[tuple[str, str], int] = {}
        """By (service, state): how often a breaker came into it."""
        self.fallbacks: dict[tuple[str, str, str], int] = {}
        """By (service, cause, kind): requests that something else has answered than the service."""
        self.limiter_failures: dict[tuple[str, str], int] = {}
        """By (service, limit): questions that a rate limit service has not answered."""
        self.shadowed: dict[tuple[str, str], int] = {}
        """By (service, policy): requests that a policy in shadow mode would have refused."""
        self.faults: dict[tuple[str, str, str], int] = {}
        """By (service, policy, kind): requests that were delayed or aborted on purpose."""
        self.mirrored: dict[tuple[str, str, str], int] = {}
        """Copies of requests by (mirrored service, status, flag)."""
        self.grpc: dict[tuple[str, str, str], GrpcSeries] = {}
        """By (direction, service, method)."""
        self.tcp: dict[tuple[str, str, str, str], TcpSeries] = {}
        """By the values of TcpLabels, in their order. Services bound them: no client can make new ones."""
        self.detected: dict[tuple[str, str, str], int] = {}
        """Connections by (listener, protocol, how that was found out), on ports where it has to be or is opaque."""
        self.server_names: dict[tuple[str, str], int] = {}
        """TLS connections by (listener, server name)."""
        self.connections: dict[str, int] = {}
        """Open downstream connections by listener."""
        self.overflowed = 0
        """Requests counted under `other` because MAX_SERIES was reached."""
        self.config_rejected = 0

    def new_series(self, labels: tuple[str, str, str, str, str, str, str], requests: int = 1) -> RequestSeries:
        """The series of `labels`, seen for the first time; `other` once there are too many. `requests` will be
        counted by it."""
        if len(self.requests) >= MAX_SERIES:
            self.overflowed += requests
            labels = (labels[0], _OTHER, _OTHER, _OTHER, _OTHER, labels[5], labels[6])
            known = self.requests.get(labels)
            if known is not None:
                return known
        series = self.requests[labels] = RequestSeries()
        return series

    def new_grpc_series(self, labels: tuple[str, str, str]) -> GrpcSeries:
        """The series of `labels`, seen for the first time; `other` once there are too many."""
        if len(self.grpc) >= MAX_GRPC_SERIES:
            labels = (labels[0], _OTHER, _OTHER)
            known = self.grpc.get(labels)
            if known is not None:
                return known
        series = self.grpc[labels] = GrpcSeries()
        return series

    def tcp_series(self, labels: tuple[str, str, str, str]) -> TcpSeries:
        """The series of `labels`."""
        series = self.tcp.get(labels)
        if series is None:
            series = self.tcp[labels] = TcpSeries()
        return series

    def count_refused(self, direction: str, status: int) -> None:
        """Count what a codec refused, by a status of 4xx or 5xx: who asked for what is not known for sure."""
        labels = (direction, "", "", "", "", STATUS_CLASSES[status // 100], REFUSED_FLAG)
        series = self.requests.get(labels) or self.new_series(labels)
        series.observe(0.0, 0, 0)

    def count_detected(self, listener: str, protocol: str, by: str, connections: int = 1) -> None:
        """Count a connection of which it is known now what it speaks."""
        key = (listener, protocol, by)
        self.detected[key] = self.detected.get(key, 0) + connections

    def count_server_name(self, listener: str, name: str, connections: int = 1) -> None:
        """Count a TLS connection that names the server it wants."""
        key = (listener, name)
        if key not in self.server_names and len(self.server_names) >= MAX_SERVER_NAMES:
            key = (listener, _OTHER)
        self.server_names[key] = self.server_names.get(key, 0) + connections

    def count_ejection(self, service: str, ejections: int = 1) -> None:
        """Count an endpoint that is left out because it fails."""
        self.ejections[service,] = self.ejections.get((service,), 0) + ejections

    def count_health_check(self, service: str, result: str, checks: int = 1) -> None:
        """Count a check that an endpoint of `service` has passed or failed."""
        key = (service, result)
        self.health_checks[key] = self.health_checks.get(key, 0) + checks

    def count_breaker(self, service: str, state: str, times: int = 1) -> None:
        """Count a breaker that comes into `state`."""
        key = (service, state)
        self.breakers[key] = self.breakers.get(key, 0) + times

    def count_fallback(self, service: str, cause: str, kind: str, requests: int = 1) -> None:
        """Count a request that falls back."""
        key = (service, cause, kind)
        self.fallbacks[key] = self.fallbacks.get(key, 0) + requests

    def count_shadowed(self, service: str, policy: str, requests: int = 1) -> None:
        """Count a request that `policy`, in shadow mode, would have refused; named as its field: `breaker`."""
        key = (service, policy)
        self.shadowed[key] = self.shadowed.get(key, 0) + requests

    def count_fault(self, service: str, policy: str, kind: str, requests: int = 1) -> None:
        """Count a request that is delayed or aborted on purpose."""
        key = (service, policy, kind)
        self.faults[key] = self.faults.get(key, 0) + requests

    def count_ratelimited(self, service: str, limit: str, enforcement: str, requests: int = 1) -> None:
        """Count a request that is over a limit."""
        key = (service, limit, enforcement)
        self.ratelimited[key] = self.ratelimited.get(key, 0) + requests

    def count_mirrored(self, service: str, status: str, flag: str, copies: int = 1) -> None:
        """Count a copy of a request that is over, or was not made."""
        key = (service, status, flag)
        self.mirrored[key] = self.mirrored.get(key, 0) + copies

    def count_limiter_failure(self, service: str, limit: str, requests: int = 1) -> None:
        """Count a question that a rate limit service has not answered."""
        key = (service, limit)
        self.limiter_failures[key] = self.limiter_failures.get(key, 0) + requests

    def count_retry_denied(self, service: str, retries: int = 1) -> None:
        """Count a retry that the budget had no room for."""
        self.retries_denied[service,] = self.retries_denied.get((service,), 0) + retries

    def count_retry(self, service: str, reason: str, retries: int = 1) -> None:
        """Count a retry."""
        key = (service, reason)
        self.retries[key] = self.retries.get(key, 0) + retries


def grpc_status_name(status: bytes | None) -> str:
    """The name of a `grpc-status` value; UNKNOWN for none and for what no name is given to."""
    if status is not None and status.isdigit() and int(status) < len(GRPC_STATUS_NAMES):
        return GRPC_STATUS_NAMES[int(status)]
    return "UNKNOWN"
