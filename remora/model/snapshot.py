"""The Snapshot: everything a sidecar needs to know, immutable, replaced as a whole.

A request keeps the snapshot that it started with. Parts travel from control to sidecar as JSON of these types
(`mesh.v1.Resource.body`); the last known good file is JSON of a whole Snapshot.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from remora.model.names import ServiceName

Protocol = Literal["auto", "http1", "h2", "grpc", "tcp"]
"""What an endpoint speaks. `auto`: whatever the downstream spoke."""

BalancerKind = Literal["least_request", "round_robin", "random"]
PathMatchKind = Literal["exact", "prefix"]


class SnapshotError(ValueError):
    """A snapshot that cannot be put to use; the one in use stays. Its text tells people why, in a sentence."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """Base of the model: immutable, and tolerant of fields that a newer control may send."""


class Endpoint(Struct, frozen=True):
    """One instance of a service, and where its sidecar (or the app itself) takes connections."""

    id: str
    address: str
    port: int
    protocol: Protocol = "auto"
    version: str = ""
    zone: str = ""
    weight: int = 1
    healthy: bool = True
    metadata: dict[str, str] = {}


class EndpointSet(Struct, frozen=True):
    """The instances of one service, ordered by id."""

    service: ServiceName
    endpoints: tuple[Endpoint, ...] = ()


class Origin(Struct, frozen=True):
    """The document that a piece of configuration comes from, for people who ask why."""

    kind: str
    namespace: str
    name: str
    revision: int = 0
    rule: int = 0
    """Index in the document's `spec.rules`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class PathMatch(Struct, frozen=True):
    """`prefix` matches whole segments (Gateway API PathPrefix): `/a` matches `/a` and `/a/b`, not `/ab`."""

    kind: PathMatchKind
    value: str


class FieldMatch(Struct, frozen=True):
    """A header or query parameter that must have exactly this value; header names are lower case."""

    name: str
    value: str


class RouteMatch(Struct, frozen=True):
    """All parts must hold; an empty match holds for every request.

    gRPC service and method matches are compiled into `path` (`/package.Service/Method`) with `method` POST.
    """

    path: PathMatch | None = None
    method: str = ""
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()


class Backend(Struct, frozen=True):
    """Where a share `weight / sum of weights` of a route's requests goes."""

    service: ServiceName
    weight: int = 1


class Route(Struct, frozen=True):
    """One match of one rule of a document. Routes of a service stand in order of precedence: the first match wins."""

    name: str
    """Stable and human readable, used in metrics and logs: `shop/rule-0`, or the rule's own name."""
    origin: Origin
    match: RouteMatch
    backends: tuple[Backend, ...]
    hostnames: tuple[str, ...] = ()
    """Narrows the route to these hosts (`*.` allowed in front); empty: all of the service's names."""
    grpc_only: bool = False
    """From a GRPCRoute: holds only for requests with content-type application/grpc*."""
    request_timeout_s: float | None = None
    """None: the service's. 0: no limit."""
    retry_attempts: int | None = None
    """How many retries (not tries) this route allows; None: the service's policy."""
    retry_codes: tuple[int, ...] | None = None
    """HTTP statuses worth a retry; None: the service's policy."""


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


class Timeouts(Struct, frozen=True):
    """Seconds. 0 switches a limit off."""

    connect_s: float = 5.0
    request_s: float = 15.0
    """Total of a unary request, retries included."""
    idle_s: float = 300.0
    """Longest silence on a streaming call."""
    keep_alive_s: float = 60.0
    """How long an idle connection is kept; less where the endpoint keeps it for less."""


class ServicePolicy(Struct, frozen=True):
    """How callers reach a service."""

    balancer: BalancerKind = "least_request"
    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts = Timeouts()
    origin: Origin | None = None
    """The TrafficPolicy that it comes from; None: defaults."""


class Service(Struct, frozen=True):
    """Routing and policy of one service, as callers use it. Endpoints change far more often and travel apart."""

    name: ServiceName
    routes: tuple[Route, ...] = ()
    """Empty: every request goes to the service itself. Not empty and none matches: 404, flag NR."""
    policy: ServicePolicy = ServicePolicy()
    hostnames: tuple[str, ...] = ()
    """Names beside the service's own by which callers reach it (hostnames of its routes, without `*`)."""


class Snapshot(Struct, frozen=True):
    """All that one sidecar uses. `services` and `endpoints` have the same keys, but for backends, which may have only
    endpoints."""

    revision: int = 0
    """etcd revision that this is as new as."""
    services: dict[ServiceName, Service] = {}
    endpoints: dict[ServiceName, EndpointSet] = {}

    def with_parts(
        self,
        revision: int,
        services: tuple[Service, ...] = (),
        endpoint_sets: tuple[EndpointSet, ...] = (),
        removed: tuple[ServiceName, ...] = (),
    ) -> Snapshot:
        """A copy with these parts put in and `removed` services gone (routing, policy and endpoints)."""
        gone = frozenset(removed)
        new_services = {name: part for name, part in self.services.items() if name not in gone}
        new_endpoints = {name: part for name, part in self.endpoints.items() if name not in gone}
        new_services.update((part.name, part) for part in services)
        new_endpoints.update((part.service, part) for part in endpoint_sets)
        return Snapshot(revision, new_services, new_endpoints)
