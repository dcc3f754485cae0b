"""The Snapshot: everything a sidecar needs to know, immutable, replaced as a whole.

A request keeps the snapshot that it started with. Parts travel from control to sidecar as JSON of these types
(`mesh.v1.Resource.body`); the last known good file is JSON of a whole Snapshot.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from remora.model.base import Struct
from remora.model.limits import Fault, RateLimit, ServiceLimits
from remora.model.names import ServiceName, version_service
from remora.model.policies import ServicePolicy
from remora.model.routes import Route
from remora.model.shares import QuotaKey

Protocol = Literal["auto", "http1", "h2", "grpc", "tcp"]
"""What an endpoint speaks. `auto`: whatever the downstream spoke."""


class SnapshotError(ValueError):
    """A snapshot that cannot be put to use; the one in use stays. Its text tells people why, in a sentence."""


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
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class EndpointSet(Struct, frozen=True):
    """The instances of one service, ordered by id."""

    service: ServiceName
    endpoints: tuple[Endpoint, ...] = ()


class Service(Struct, frozen=True):
    """Routing and policy of one service, as callers use it. Endpoints change far more often and travel apart."""

    name: ServiceName
    routes: tuple[Route, ...] = ()
    """Empty: every request goes to the service itself. Not empty and none matches: 404, flag NR."""
    policy: ServicePolicy = ServicePolicy()
    hostnames: tuple[str, ...] = ()
    """Names beside the service's own by which callers reach it (hostnames of its routes, without `*`)."""
    faults: tuple[Fault, ...] = ()
    """What callers do to their own requests on purpose, in this order."""
    limits: ServiceLimits = ServiceLimits()
    """How many requests it takes. What instances enforce of a service holds for its versions too."""


class Snapshot(Struct, frozen=True):
    """All that one sidecar uses. `services` and `endpoints` have the same keys, but for backends, which may have only
    endpoints."""

    revision: int = 0
    """etcd revision that this is as new as."""
    services: dict[ServiceName, Service] = msgspec.field(default_factory=dict)
    endpoints: dict[ServiceName, EndpointSet] = msgspec.field(default_factory=dict)
    own: Service | None = None
    """The service that the sidecar stands before, for what comes inbound; without routes. None: control has said
    nothing of it, or there is no control."""

    def inbound(self, service: ServiceName, version: str) -> Service | None:
        """What holds for requests to an instance of `service`: what there is for its version comes first."""
        if self.own is not None:
            return self.own
        versioned = version_service(service, version)
        found = self.services.get(versioned) if versioned is not None else None
        return found or self.services.get(service)

    def enforced_limits(self, own: Service | None) -> dict[QuotaKey, RateLimit]:
        """The limits that a sidecar enforces; `own`: what holds for requests to its app."""
        held = [limit for service in self.services.values() for limit in service.limits.limits if limit.at_callers]
        held += [limit for limit in (own.limits.limits if own is not None else ()) if not limit.at_callers]
        return {(limit.service, limit.name): limit for limit in held}

    def with_parts(
        self,
        revision: int,
        services: tuple[Service, ...] = (),
        endpoint_sets: tuple[EndpointSet, ...] = (),
        removed: tuple[ServiceName, ...] = (),
        own: Service | None = None,
    ) -> Snapshot:
        """A copy with these parts put in and `removed` services gone (routing, policy and endpoints)."""
        gone = frozenset(removed)
        new_services = {name: part for name, part in self.services.items() if name not in gone}
        new_endpoints = {name: part for name, part in self.endpoints.items() if name not in gone}
        new_services.update((part.name, part) for part in services)
        new_endpoints.update((part.service, part) for part in endpoint_sets)
        if own is None and self.own is not None and self.own.name not in gone:
            own = self.own
        return Snapshot(revision, new_services, new_endpoints, own)
