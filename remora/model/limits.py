"""Rate limits and faults of a service. Times are in seconds, shares in [0, 1]."""

from __future__ import annotations

from typing import Literal

from remora.model.base import Origin, Struct
from remora.model.names import ServiceName
from remora.model.routes import RouteMatch

LimitKeyKind = Literal["header", "path", "method", "peer", "address"]
"""`path`: without the query; `peer`: who is connected; `address`: the address that the request came from first."""

LimitScope = Literal["instance", "service"]


class LimitKey(Struct, frozen=True):
    """Something that a request has, or has not."""

    kind: LimitKeyKind
    name: str = ""
    """Of a header, in lower case."""


class RateLimit(Struct, frozen=True):
    """At most `requests` in `per_s`, for each value of `keys`; a token bucket."""

    service: ServiceName
    """Whose requests it counts. Instances of a version keep to what there is for the whole service, too."""
    name: str
    """`document/limit`: unique among the limits of a service."""
    origin: Origin
    requests: int
    per_s: float = 1.0
    burst: int | None = None
    """How many at once; None: `requests`."""
    matches: tuple[RouteMatch, ...] = ()
    """Which requests count: any of these; empty: all."""
    keys: tuple[LimitKey, ...] = ()
    """A request without one of them does not count."""
    max_keys: int = 10_000
    scope: LimitScope = "instance"
    """`service`: one quota for all together that enforce it."""
    at_callers: bool = False
    """Enforced by each caller; else before each instance of the service."""
    shadow: bool = False

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.per_s

    @property
    def size(self) -> int:
        """How many at once."""
        return self.requests if self.burst is None else self.burst


class DescriptorEntry(Struct, frozen=True):
    """A word of what is asked for at a rate limit service: `value`, or what the request has for `source`."""

    key: str
    value: str = ""
    source: LimitKey | None = None


class ExternalLimit(Struct, frozen=True):
    """A rate limit service that is asked about each request (Envoy's protocol, `envoy.service.ratelimit.v3`)."""

    service: ServiceName
    name: str
    """Of its document."""
    origin: Origin
    host: str
    port: int
    domain: str
    descriptors: tuple[tuple[DescriptorEntry, ...], ...]
    """One is left out when the request has not all that it is made of; without any left, nobody is asked."""
    timeout_s: float = 0.02
    fail_open: bool = True
    """Requests go on when there is no answer in time."""
    at_callers: bool = False
    shadow: bool = False


class ServiceLimits(Struct, frozen=True):
    """All limits of a service, those of other people's limiters apart."""

    limits: tuple[RateLimit, ...] = ()
    external: tuple[ExternalLimit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.limits or self.external)

    def enforced(self, *, at_callers: bool) -> ServiceLimits:
        """Those that callers enforce, or those that instances do."""
        return ServiceLimits(
            tuple(limit for limit in self.limits if limit.at_callers is at_callers),
            tuple(limit for limit in self.external if limit.at_callers is at_callers),
        )


class Fault(Struct, frozen=True):
    """Done to a share of the requests on purpose, at the caller: first the delay, then the abort.

    A request has one fault of a service at most. Those that it matches take their shares in their order: the second has
    its share of the same requests, not of those that the first has left.
    """

    origin: Origin
    matches: tuple[RouteMatch, ...] = ()
    share: float = 1.0
    delay_s: float = 0.0
    status: int = 0
    """HTTP status to abort with; 0: no abort."""
    grpc_status: int = 0
    """What gRPC calls are aborted with, where there is a status."""
    until: float = 0.0
    """Unix time at which it ends by itself; 0: never."""
    enabled: bool = True
