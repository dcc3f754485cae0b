"""Where the requests of a route go: its backends, their endpoints, and which of them is certain."""

from __future__ import annotations

import time
from collections.abc import Iterator

from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.sidecar.explain import endpoints, filters
from remora.sidecar.explain.subject import View
from remora.sidecar.explain.values import BackendFacts, EndpointFacts
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.routing.table import CompiledBackend, CompiledRoute
from remora.sidecar.upstream.cluster import policies_of
from remora.sidecar.wire.heads import Fields, RequestHead


def backends_of(route: CompiledRoute, head: RequestHead, view: View) -> tuple[BackendFacts, ...]:
    """All of them, in the order of the document."""
    pinned = _of_session(route, head, view)
    chosen = _certain(route, head) if pinned is None else pinned[0]
    session = "" if pinned is None else pinned[1]
    return tuple(_facts(route, chosen, session, head, view))


def policy_of(service: ServiceName, view: View) -> ServicePolicy:
    """How its endpoints are reached."""
    return policies_of(view.table.snapshot).get(service, ServicePolicy())


def _of_session(route: CompiledRoute, head: RequestHead, view: View) -> tuple[CompiledBackend, str] | None:
    """The backend and the address that the request's session leads to; None: it has none, or that is not well."""
    session = None if route.session is None else route.session.read(head, time.time())
    if session is None:
        return None
    backend = next((each for name, each in route.targets.items() if name == session.service), None)
    cluster = None if backend is None else view.cluster(backend.service)
    endpoint = None if cluster is None else cluster.find_well(session.endpoint)
    return None if backend is None or endpoint is None else (backend, endpoints.address(endpoint.endpoint))


def _certain(route: CompiledRoute, head: RequestHead) -> CompiledBackend | None:
    """The backend of all such requests; None where chance decides."""
    if len(route.backends) == 1:
        return route.backends[0]
    made: Fields = []
    key = None if route.keys is None else route.keys.read(head, made, 0)
    # A cookie that would be made now is as good as chance.
    return None if key is None or made else route.backend_of(key)


def _facts(
    route: CompiledRoute, chosen: CompiledBackend | None, session: str, head: RequestHead, view: View
) -> Iterator[BackendFacts]:
    total = sum(backend.weight for backend in route.route.backends)
    for backend in route.route.backends:
        cluster, target = view.cluster(backend.service), route.targets[backend.service]
        certain = chosen is target
        yield BackendFacts(
            backend.service,
            backend.weight,
            backend.weight / total if total else 0.0,
            policy_of(backend.service, view).balancer.kind.replace("_", " "),
            tuple(endpoints.live(cluster)) if cluster is not None else _in_file(backend.service, view),
            tuple(filters.told(backend.filters)),
            tuple(filters.sees(head, _filters(route, target))),
            () if cluster is None else tuple(endpoints.zones(cluster)),
            certain,
            "" if cluster is None else endpoints.place(cluster, head),
            session if certain else "",
        )


def _in_file(service: ServiceName, view: View) -> tuple[EndpointFacts, ...]:
    known = None if view.live else view.table.snapshot.endpoints.get(service)
    return () if known is None else tuple(endpoints.static(known.endpoints))


def _filters(route: CompiledRoute, backend: CompiledBackend) -> tuple[CompiledFilters, ...]:
    return tuple(each for each in (route.filters, backend.filters) if each is not None)
