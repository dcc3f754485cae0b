"""What a TrafficPolicy says of circuit breaking: limits, breaker, health checks.

Types, what is checked of them, and the model that they become.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.durations import seconds
from remora.documents.errors import Fault
from remora.documents.fields import DocumentPart, Port, PositiveDuration, UrlPath
from remora.documents.protection import Enforcement
from remora.model import policies as model

Cap = Annotated[int, Meta(ge=0, le=1_000_000)]
Volume = Annotated[int, Meta(ge=1, le=1_000_000)]
ErrorPercent = Annotated[int, Meta(ge=1, le=100)]
FailuresInARow = Annotated[int, Meta(ge=1, le=1000)]
Probes = Annotated[int, Meta(ge=1, le=1000)]


GrpcService = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z",
        max_length=512,
        extra={"form": "a full name of a gRPC service such as shop.v1.Orders"},
    ),
]
HealthThreshold = Annotated[int, Meta(ge=1, le=100)]
HealthStatus = Annotated[int, Meta(ge=200, le=599)]


class Limits(DocumentPart, frozen=True):
    """How much of each caller's sidecar the service may take; what is left out keeps its default."""

    connections: Cap | None = None
    pending: Cap | None = None
    requests: Cap | None = None


class Breaker(DocumentPart, frozen=True):
    """Stops sending to what fails, and tries again after a while with a few requests."""

    type: Literal["ErrorRatio", "Consecutive"] = "ErrorRatio"
    per: Literal["Service", "Endpoint"] = "Service"
    window: PositiveDuration | None = None
    volume: Volume | None = None
    error_percent: ErrorPercent | None = None
    failures: FailuresInARow | None = None
    sleep: PositiveDuration = "5s"
    probes: Probes = 1
    enforcement: Enforcement = "Enforce"


class HealthStatuses(DocumentPart, frozen=True):
    """A range."""

    first: HealthStatus
    last: HealthStatus


class HealthCheck(DocumentPart, frozen=True):
    """How callers ask each endpoint whether it is well."""

    type: Literal["HTTP", "GRPC", "TCP"] = "HTTP"
    path: UrlPath | None = None
    service: GrpcService | None = None
    port: Port | None = None
    interval: PositiveDuration = "10s"
    timeout: PositiveDuration = "1s"
    healthy_after: HealthThreshold = 2
    unhealthy_after: HealthThreshold = 3
    statuses: HealthStatuses | None = None


def check_health(health: HealthCheck, place: str) -> Iterator[Fault]:
    """Fields of other types would have no effect."""
    for field, value, type_ in (
        ("path", health.path, "HTTP"),
        ("statuses", health.statuses, "HTTP"),
        ("service", health.service, "GRPC"),
    ):
        if value is not None and health.type != type_:
            yield Fault(f"{place}.{field}", f"has no effect with type: {health.type}; leave it out")
    if health.statuses is not None and health.statuses.last < health.statuses.first:
        yield Fault(f"{place}.statuses.last", f"comes before first, {health.statuses.first}: no status is well")


def compile_health(health: HealthCheck) -> model.HealthCheck:
    default = model.HealthCheck()
    statuses = health.statuses
    return model.HealthCheck(
        kind=_HEALTH_KINDS[health.type],
        path=default.path if health.path is None else health.path,
        service=health.service or "",
        port=health.port,
        interval_s=seconds(health.interval),
        timeout_s=seconds(health.timeout),
        healthy_after=health.healthy_after,
        unhealthy_after=health.unhealthy_after,
        statuses=default.statuses if statuses is None else (statuses.first, statuses.last),
    )


_HEALTH_KINDS: dict[str, model.HealthCheckKind] = {"HTTP": "http", "GRPC": "grpc", "TCP": "tcp"}


def check_breaker(breaker: Breaker, place: str) -> Iterator[Fault]:
    """Fields of the other type would have no effect."""
    other = {
        "ErrorRatio": (("failures", breaker.failures),),
        "Consecutive": (
            ("window", breaker.window),
            ("volume", breaker.volume),
            ("errorPercent", breaker.error_percent),
        ),
    }[breaker.type]
    for field, value in other:
        if value is not None:
            yield Fault(f"{place}.{field}", f"has no effect with type: {breaker.type}; leave it out")


def compile_caps(limits: Limits) -> model.Caps:
    default = model.Caps()
    return model.Caps(
        connections=default.connections if limits.connections is None else limits.connections,
        pending=default.pending if limits.pending is None else limits.pending,
        requests=default.requests if limits.requests is None else limits.requests,
    )


def compile_breaker(breaker: Breaker) -> model.Breaker:
    default = model.Breaker()
    return model.Breaker(
        kind="error_ratio" if breaker.type == "ErrorRatio" else "consecutive",
        per_endpoint=breaker.per == "Endpoint",
        window_s=default.window_s if breaker.window is None else seconds(breaker.window),
        volume=default.volume if breaker.volume is None else breaker.volume,
        error_share=default.error_share if breaker.error_percent is None else breaker.error_percent / 100,
        failures=default.failures if breaker.failures is None else breaker.failures,
        sleep_s=seconds(breaker.sleep),
        probes=breaker.probes,
        shadow=breaker.enforcement == "Shadow",
    )
