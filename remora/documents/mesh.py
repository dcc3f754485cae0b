"""Our own kinds, group `mesh.remora.dev/v1alpha1`: what Gateway API leaves out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.breaking import Breaker, HealthCheck, Limits, Volume
from remora.documents.fields import (
    DocumentPart,
    Duration,
    Label,
    Metadata,
    Percent,
    Port,
    PositiveDuration,
    RetryAttempts,
    RetryCode,
    ServerSide,
)
from remora.documents.protection import Admission, Concurrency, Fallback
from remora.model.grpc import GrpcFailureName
from remora.model.snapshot import Protocol

API_VERSION = "mesh.remora.dev/v1alpha1"

SafeMethod = Annotated[
    str,
    Meta(
        pattern=r"^([A-Z][A-Z-]*|/[A-Za-z_][\w.]*/[A-Za-z_]\w*)\Z",
        extra={"form": "an HTTP method in upper case (POST) or a gRPC method (/shop.v1.Orders/GetOrder)"},
    ),
]
FieldNameOrNone = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]*\Z",
        max_length=256,
        extra={"form": "a header name, or nothing"},
    ),
]
HostOrAddress = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._:-]+\Z",
        max_length=253,
        extra={"form": "a host name or an IP address, without a port or brackets"},
    ),
]
RetryCondition = Literal["ConnectFailure", "RefusedStream", "Reset"]
HedgeAttempts = Annotated[int, Meta(ge=1, le=10)]
BudgetMinimum = Annotated[int, Meta(ge=0, le=1000)]
ConsecutiveFailures = Annotated[int, Meta(ge=0, le=1000)]
MinEndpoints = Annotated[int, Meta(ge=2, le=1000)]
DeviationPercent = Annotated[int, Meta(ge=1, le=1000)]
EndpointWeight = Annotated[int, Meta(ge=1, le=1000)]
KeyName = Annotated[str, Meta(min_length=1, max_length=256)]
Zone = Annotated[str, Meta(max_length=253)]
ZoneName = Annotated[str, Meta(min_length=1, max_length=253)]
PositivePercent = Annotated[int, Meta(ge=1, le=100)]
LoadPercent = Annotated[int, Meta(ge=100, le=1000)]


class TargetRef(DocumentPart, frozen=True):
    """A Service of the policy's own namespace."""

    name: Label
    group: str = ""
    kind: str = "Service"


class HashKey(DocumentPart, frozen=True):
    """What of a request tells users apart."""

    type: Literal["Header", "Cookie", "QueryParam", "SourceAddress"]
    name: KeyName | None = None
    ttl: Duration | None = None


class SlowStart(DocumentPart, frozen=True):
    """How a new instance comes to its share."""

    window: PositiveDuration
    min_weight: PositivePercent = 10


class Balancer(DocumentPart, frozen=True):
    """Who gets the next request."""

    type: Literal["LeastRequest", "RoundRobin", "Random", "PeakEWMA", "RingHash", "Maglev"] = "LeastRequest"
    hash_on: tuple[HashKey, ...] = ()
    bounded_load: LoadPercent | None = None
    slow_start: SlowStart | None = None
    panic_threshold: Percent | None = None


class Locality(DocumentPart, frozen=True):
    """Which zones requests go to."""

    mode: Literal["Any", "ZoneFirst"] = "Any"
    failover: tuple[ZoneName, ...] = ()


class Backoff(DocumentPart, frozen=True):
    """Of the waits between tries, which are drawn from zero up to these."""

    base: PositiveDuration | None = None
    max: PositiveDuration | None = None


class RetryBudget(DocumentPart, frozen=True):
    """How much retries may add."""

    percent: Percent | None = None
    minimum: BudgetMinimum | None = None
    minimum_per_second: BudgetMinimum | None = None


class Retry(DocumentPart, frozen=True):
    """What is left out keeps its default (attempts 2; 502, 503, 504; UNAVAILABLE)."""

    attempts: RetryAttempts | None = None
    """Retries in addition to the first request."""
    codes: tuple[RetryCode, ...] | None = None
    grpc_statuses: tuple[GrpcFailureName, ...] | None = None
    safe_methods: tuple[SafeMethod, ...] = ()
    """Methods that the service's owner declares safe to execute twice, beyond those that RFC 9110 says are."""
    conditions: tuple[RetryCondition, ...] | None = None
    idempotency_header: FieldNameOrNone | None = None
    per_try_timeout: Duration | None = None
    backoff: Backoff = Backoff()
    budget: RetryBudget = RetryBudget()


class Hedging(DocumentPart, frozen=True):
    """Sends what keeps its caller waiting to another instance too."""

    delay: PositiveDuration
    attempts: HedgeAttempts = 1


class SuccessRate(DocumentPart, frozen=True):
    """Ejects endpoints that succeed less often than the others."""

    interval: PositiveDuration = "10s"
    min_endpoints: MinEndpoints = 5
    volume: Volume = 100
    deviation_percent: DeviationPercent = 190


class Outlier(DocumentPart, frozen=True):
    """When an endpoint that fails is left out for a while; what is left out keeps its default."""

    consecutive_failures: ConsecutiveFailures | None = None
    base_ejection: PositiveDuration | None = None
    max_ejection: PositiveDuration | None = None
    max_ejected_percent: Percent | None = None
    success_rate: SuccessRate | None = None


class PolicyTimeouts(DocumentPart, frozen=True):
    """`0s` switches a limit off; what is left out keeps its default (connect 5 s, request 15 s, idle 5 min,
    keepAlive 1 min)."""

    connect: Duration | None = None
    request: Duration | None = None
    idle: Duration | None = None
    keep_alive: Duration | None = None


class Split(DocumentPart, frozen=True):
    """How requests are split among backends with weights."""

    sticky_by: tuple[HashKey, ...] = ()


class TrafficPolicySpec(DocumentPart, frozen=True):
    target_refs: tuple[TargetRef, ...]
    balancer: Balancer = Balancer()
    locality: Locality = Locality()
    retry: Retry = Retry()
    hedging: Hedging | None = None
    timeouts: PolicyTimeouts = PolicyTimeouts()
    outlier: Outlier = Outlier()
    split: Split = Split()
    admission: Admission | None = None
    concurrency: Concurrency | None = None
    limits: Limits = Limits()
    breaker: Breaker | None = None
    fallback: Fallback | None = None
    health: HealthCheck | None = None


class TrafficPolicy(DocumentPart, frozen=True):
    """How callers reach the services that it targets."""

    api_version: Literal["mesh.remora.dev/v1alpha1"]
    kind: Literal["TrafficPolicy"]
    metadata: Metadata
    spec: TrafficPolicySpec
    status: ServerSide = None


class StaticEndpoint(DocumentPart, frozen=True):
    address: HostOrAddress
    port: Port
    protocol: Protocol = "auto"
    version: Label | None = None
    zone: Zone = ""
    weight: EndpointWeight = 1


class ServiceEndpointsSpec(DocumentPart, frozen=True):
    service: Label
    """Of the document's namespace."""
    endpoints: tuple[StaticEndpoint, ...]


class ServiceEndpoints(DocumentPart, frozen=True):
    """Endpoints that do not register themselves: of external services, and of `--config FILE`."""

    api_version: Literal["mesh.remora.dev/v1alpha1"]
    kind: Literal["ServiceEndpoints"]
    metadata: Metadata
    spec: ServiceEndpointsSpec
    status: ServerSide = None
