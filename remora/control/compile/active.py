"""A document in use, compiled once."""

from __future__ import annotations

import msgspec

from remora.documents.endpoints import static_endpoints
from remora.documents.fault_policy import FaultPolicy
from remora.documents.faults import compile_faults
from remora.documents.gateway import GRPCRoute, HTTPRoute, ReferenceGrant
from remora.documents.kinds import Document
from remora.documents.limits import LimitsByService, compile_limits
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy
from remora.documents.policies import compile_policy
from remora.documents.rate_limit_policy import RateLimitPolicy
from remora.documents.routes import RoutesByParent, compile_routes
from remora.model.limits import Fault
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Endpoint


class Active(msgspec.Struct, frozen=True):
    """A document and what it compiles to; of what follows `revision` one is set, or none."""

    document: Document
    revision: int
    routes: RoutesByParent = msgspec.field(default_factory=dict)
    """By the service that they are for."""
    policy: ServicePolicy | None = None
    faults: tuple[Fault, ...] = ()
    limits: LimitsByService = msgspec.field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()


def activate(document: Document, revision: int, created: int) -> Active:
    """Compile a checked document. `revision` is that of its last write, `created` that of its first."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return Active(document, revision, routes=compile_routes(document, revision, created))
        case ReferenceGrant():
            return Active(document, revision)
        case TrafficPolicy():
            return Active(document, revision, policy=compile_policy(document, revision))
        case FaultPolicy():
            return Active(document, revision, faults=compile_faults(document, revision))
        case RateLimitPolicy():
            return Active(document, revision, limits=compile_limits(document, revision))
        case ServiceEndpoints():
            return Active(document, revision, endpoints=static_endpoints(document))
