"""Rate limits and faults of a service. Times are in seconds, shares in [0, 1]."""

from __future__ import annotations

from typing import Literal

from remora.model.base import Origin, Struct
from remora.model.routes import RouteMatch

LimitKeyKind = Literal["header", "path", "method", "peer", "address"]
"""`peer`: the service that calls; `address`: the address that the request came from."""

LimitScope = Literal["instance", "service"]


class LimitKey(Struct, frozen=True):
    kind: LimitKeyKind
    name: str = ""
    """Of a header, in lower case."""


class RateLimit(Struct, frozen=True):
    """At most `requests` in `per_s`, for each value of `keys`; a token bucket."""

    name: str
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
    """`service`: one quota for all instances together."""
    shadow: bool = False

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.per_s


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
