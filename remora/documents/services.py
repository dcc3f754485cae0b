"""Compiled documents → services of the model."""

from __future__ import annotations

from collections.abc import Iterable

from remora.documents.faults import in_order
from remora.documents.limits import join_limits
from remora.documents.routes import RankedRoute
from remora.model.limits import Fault, ServiceLimits
from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Service

_DEFAULTS = ServicePolicy()


def compile_service(
    name: ServiceName,
    routes: Iterable[RankedRoute],
    policy: ServicePolicy | None,
    faults: Iterable[Fault] = (),
    limits: Iterable[ServiceLimits] = (),
) -> Service:
    """A service of the routes and policies that were compiled for it."""
    ordered = tuple(ranked.route for ranked in sorted(routes, key=lambda ranked: ranked.rank))
    # Callers who write a route for themselves give nothing a name that all others would go by.
    producers = [route for route in ordered if not route.consumers]
    hostnames = {host for route in producers for host in route.hostnames if not host.startswith("*.")}
    names = tuple(sorted(hostnames))
    return Service(name, ordered, policy or _DEFAULTS, names, in_order(faults), join_limits(limits))
