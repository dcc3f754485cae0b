"""How callers reach a service: the parts of its policy. Times are in seconds, shares in [0, 1]."""

from __future__ import annotations

from typing import Literal

from remora.model.base import Origin, Struct
from remora.model.names import ServiceName

BalancerKind = Literal["least_request", "round_robin", "random", "peak_ewma", "ring_hash", "maglev"]
HashSource = Literal["header", "cookie", "query", "address"]
BreakerKind = Literal["error_ratio", "consecutive"]
HealthCheckKind = Literal["http", "grpc", "tcp"]
FallbackCause = Literal["no_endpoint", "breaker", "failure", "timeout"]


class HashKey(Struct, frozen=True):
    """What of a request is hashed. The first key that a request has counts."""

    source: HashSource
    name: str = ""
    """Header (lower case), cookie or query parameter; empty for `address`."""
    ttl_s: float | None = None
    """Of a cookie that is made where there is none; 0: for the browser's session; None: none is made."""


class SlowStart(Struct, frozen=True):
    """A new endpoint's weight grows along a line over the window (Envoy's slow start, aggression 1)."""

    window_s: float
    min_weight: float = 0.1


class Balancer(Struct, frozen=True):
    kind: BalancerKind = "least_request"
    hash_on: tuple[HashKey, ...] = ()
    """For `ring_hash` and `maglev`; a request that has none of them goes anywhere."""
    bounded_load: float | None = None
    """No endpoint takes more than so many times the mean of requests in flight (consistent hashing with bounded
    loads, Mirrokni et al. 2016); None: no bound."""
    slow_start: SlowStart | None = None
    panic_share: float = 0.5
    """When fewer than this share of the endpoints is usable, health is not believed and all are used."""


class Locality(Struct, frozen=True):
    """Own zone first; what its usable endpoints cannot take spills over to the others."""

    failover: tuple[str, ...] = ()
    """Zones in the order in which they are taken next; all that are not named come last, together."""


class RetryBudget(Struct, frozen=True):
    """How much retries may add: at any time to the requests in flight, over some seconds to those that begin."""

    share: float = 0.2
    minimum: int = 3
    """So many requests may be retried at a time in any case."""
    minimum_per_s: int = 1
    """So many retries may be made in a second in any case."""


class Hedging(Struct, frozen=True):
    """Safe requests without an answer after `delay_s` are sent to another endpoint too; the first answer counts
    (Dean and Barroso, The Tail at Scale; gRFC A6)."""

    delay_s: float
    attempts: int = 1
    """How many beside the first, each `delay_s` after the one before."""


class RetryPolicy(Struct, frozen=True):
    """When a request may be tried again on another endpoint. Defaults are the contract in the design."""

    attempts: int = 2
    """Retries, not tries."""
    codes: tuple[int, ...] = (502, 503, 504)
    grpc_statuses: tuple[int, ...] = (14,)
    """gRPC status numbers worth a retry; 14 is UNAVAILABLE."""
    safe_methods: tuple[str, ...] = ()
    """Beyond GET, HEAD, OPTIONS, TRACE, PUT, DELETE (RFC 9110 §9.2.2): HTTP methods or `/package.Service/Method`
    that the service's owner declares safe to execute twice."""
    idempotency_header: str = "idempotency-key"
    """A request with this header is safe to execute twice; empty: no header says so."""
    on_connect: bool = True
    on_refused: bool = True
    on_reset: bool = True
    per_try_s: float = 0.0
    """From the end of the request to an answer's head, of one attempt; 0: no limit of its own."""
    backoff_base_s: float = 0.025
    backoff_cap_s: float = 0.25
    backoff_least_s: float = 0.0
    """No retry is made sooner."""
    budget: RetryBudget = RetryBudget()
    """Of retries and hedges."""
    tells_timeout: bool = False
    """Each try says how long its caller waits: the request timeout is configured."""
    hedging: Hedging | None = None


class Timeouts(Struct, frozen=True):
    """Seconds. 0 switches a limit off."""

    connect_s: float = 5.0
    request_s: float = 15.0
    """Total of a unary request, retries included."""
    idle_s: float = 300.0
    """Longest silence on a streaming call."""
    keep_alive_s: float = 60.0
    """How long an idle connection is kept; less where the endpoint keeps it for less."""


class Caps(Struct, frozen=True):
    """How much of a sidecar a service may take (Envoy's circuit breakers). 0: no limit."""

    connections: int = 1024
    pending: int = 1024
    """Requests that wait for a connection."""
    requests: int = 1024


class Breaker(Struct, frozen=True):
    """Stops sending to what fails, and tries again after a while with a few probes."""

    kind: BreakerKind = "error_ratio"
    per_endpoint: bool = False
    window_s: float = 10.0
    volume: int = 20
    """`error_ratio`: with fewer requests in the window it stays closed."""
    error_share: float = 0.5
    failures: int = 5
    """`consecutive`: so many in a row open it."""
    sleep_s: float = 5.0
    """How long it stays open before probes."""
    probes: int = 1
    """So many go through when it is half open; when all succeed it closes, when one fails it opens again."""
    shadow: bool = False
    """Only counted and logged."""


class SuccessRate(Struct, frozen=True):
    """Ejects endpoints that succeed less than others (Envoy's success rate detection)."""

    interval_s: float = 10.0
    min_endpoints: int = 5
    volume: int = 100
    """Endpoints with fewer requests in the interval are left out."""
    deviations: float = 1.9
    """So many standard deviations below the mean."""


class Outlier(Struct, frozen=True):
    """Ejection of endpoints that fail; seen from one sidecar."""

    consecutive: int = 5
    """So many failures in a row; 0: off."""
    base_s: float = 30.0
    """The n-th ejection of an endpoint is n times as long."""
    max_s: float = 300.0
    max_share: float = 0.5
    """Of the endpoints; one may always be ejected where there are others."""
    success_rate: SuccessRate | None = None


class HealthCheck(Struct, frozen=True):
    """Asks each endpoint whether it is well."""

    kind: HealthCheckKind = "http"
    path: str = "/"
    service: str = ""
    """gRPC health: which service is asked for; empty: the whole server."""
    port: int | None = None
    """None: the endpoint's."""
    interval_s: float = 10.0
    timeout_s: float = 1.0
    healthy_after: int = 2
    unhealthy_after: int = 3
    statuses: tuple[int, int] = (200, 399)
    """First and last HTTP status that is well."""


class AdmissionControl(Struct, frozen=True):
    """Sheds requests to a service that rejects most of them (client-side throttling, Google SRE book, ch. 21)."""

    multiplier: float = 2.0
    """Requests beyond so many times the accepted ones are shed, by chance."""
    window_s: float = 30.0
    volume: int = 20
    max_share: float = 0.8
    """At most this share is shed (Envoy's max_rejection_probability)."""
    shadow: bool = False


class AdaptiveConcurrency(Struct, frozen=True):
    """Bounds requests in flight by how latency grows (gradient; Envoy's adaptive concurrency)."""

    minimum: int = 3
    maximum: int = 1000
    sample_s: float = 0.1
    """How long latency is gathered before the limit moves."""
    min_rtt_interval_s: float = 60.0
    """How often the latency without load is measured anew."""
    min_rtt_requests: int = 50
    buffer: float = 0.25
    """Latency may grow by this share before the limit falls."""
    shadow: bool = False


class StaticAnswer(Struct, frozen=True):
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


class LastGood(Struct, frozen=True):
    """The last good answer to the same GET, if it may be kept (RFC 9111) and is not too old."""

    max_age_s: float = 300.0
    max_bytes: int = 8 << 20


class Fallback(Struct, frozen=True):
    """What is answered where the service has not. One of the three is set."""

    on: tuple[FallbackCause, ...] = ("no_endpoint", "breaker")
    answer: StaticAnswer | None = None
    service: ServiceName | None = None
    last_good: LastGood | None = None


class ServicePolicy(Struct, frozen=True):
    """How callers reach a service."""

    balancer: Balancer = Balancer()
    locality: Locality | None = None
    """None: zones do not count."""
    sticky_by: tuple[HashKey, ...] = ()
    """What keeps a user with one backend of a weighted route; empty: chance decides each request."""
    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts = Timeouts()
    caps: Caps = Caps()
    breaker: Breaker | None = None
    outlier: Outlier = Outlier()
    health: HealthCheck | None = None
    admission: AdmissionControl | None = None
    concurrency: AdaptiveConcurrency | None = None
    fallback: Fallback | None = None
    origin: Origin | None = None
    """The TrafficPolicy that it comes from; None: defaults."""
