"""Why a request goes where it goes: each step of `listener/outbound.py`, told instead of taken.

What is chosen is found by the same conditions, backends and gates as for a request that is there; only the index of
paths is not used, so that each route can say why it is not the one.
"""

from __future__ import annotations

from msgspec.structs import replace

from remora.model.names import ServiceName, service_of_host, split_authority
from remora.sidecar.exchange import failures
from remora.sidecar.explain.backends import backends_of, policy_of
from remora.sidecar.explain.heads import head_of
from remora.sidecar.explain.inbound import explain_inbound
from remora.sidecar.explain.policies import DESCRIBERS
from remora.sidecar.explain.routes import considered
from remora.sidecar.explain.subject import Subject, View
from remora.sidecar.explain.values import Asked, Explanation
from remora.sidecar.explain.verdict import fails, judged
from remora.sidecar.listener.outbound import LOOPBACK
from remora.sidecar.routing.match import host_of
from remora.sidecar.routing.table import CompiledRoute, CompiledService, default_route
from remora.sidecar.wire.heads import RequestHead


def explain(asked: Asked, view: View) -> Explanation:
    """What would happen to such a request, and why."""
    head, table = head_of(asked), view.table
    base = Explanation(asked, table.snapshot.revision, view.config, view.live)
    if asked.inbound and view.app is not None:
        return explain_inbound(base, view.app, head, view)
    bound = service_of_host(asked.service, view.namespace) if asked.service else None
    service = table.services.get(bound) if bound is not None else table.find(head.authority)
    if service is None:
        return _outside(base, head, view, bound)
    found = f"by its own port (--service {asked.service})" if bound is not None else _found(service, head)
    return _in_mesh(replace(base, service=service.service.name, found=found), service, head, view)


def _found(service: CompiledService, head: RequestHead) -> str:
    host = host_of(head.authority)
    if host in service.service.hostnames:
        return f"by the host name {host}, which a route of it has"
    return f"by the name {host}"


# ── none of the mesh ──


def _outside(base: Explanation, head: RequestHead, view: View, bound: ServiceName | None) -> Explanation:
    """As the router: control is asked, then it is past the mesh, if that is allowed."""
    authority = head.authority.decode("latin-1")
    name = bound or service_of_host(host_of(head.authority), view.namespace)
    if name is not None and view.known is not None and view.known(name) is None:
        found = f"{name} is not in use here yet: at the first request control is asked for it"
        return replace(base, found=found, now=("the request waits for control's word, then it is decided",))
    if bound is not None:
        base = replace(base, found=f"there is no service {bound}")
        return fails(base, head, failures.NO_ENDPOINT, service=bound)
    found = f"{authority or 'an empty authority'} names no service of the mesh"
    base = replace(base, found=found)
    if view.outbound_policy == "registry-only":
        return fails(base, head, failures.NOT_IN_REGISTRY, authority=authority)
    try:
        host, port = split_authority(authority)
    except ValueError:
        host, port = "", None
    if not host:
        return fails(base, head, failures.BAD_AUTHORITY, authority=authority)
    port = port or 80
    if port in view.own_ports and host in LOOPBACK:
        return fails(base, head, failures.LOOP, authority=authority)
    return replace(base, now=(f"it goes past the mesh, to {host} port {port}, as it is",))


# ── of the mesh ──


def _in_mesh(base: Explanation, service: CompiledService, head: RequestHead, view: View) -> Explanation:
    base = replace(base, considered=considered(service, head))
    route = _chosen(service, base)
    if route is None and head.method == b"CONNECT":
        # Bytes have no path and no fields: what no rule takes goes to the service itself.
        route = CompiledRoute(0, default_route(service.service.name), service.service)
    if route is None:
        method, path = head.method.decode("latin-1"), head.path.partition(b"?")[0].decode("latin-1")
        return fails(base, head, failures.NO_ROUTE, service=base.service, method=method, path=path)
    base = replace(base, route=route.name)
    answer = None if route.filters is None else route.filters.answer(head)
    if answer is not None:
        fields = ", ".join(f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in answer[1])
        return replace(base, now=(f"the sidecar answers {answer[0]} itself ({fields})",))
    return _to_backends(base, service, route, head, view)


def _chosen(service: CompiledService, base: Explanation) -> CompiledRoute | None:
    if service.default is not None:
        return service.default
    for compiled, told in zip(service.routes, base.considered, strict=False):
        if told.outcome == "chosen":
            return compiled
    return None


def _to_backends(
    base: Explanation, service: CompiledService, route: CompiledRoute, head: RequestHead, view: View
) -> Explanation:
    backends = backends_of(route, head, view)
    base = replace(base, backends=backends)
    if not route.backends and not any(backend.chosen for backend in backends):
        return fails(base, head, failures.NO_BACKEND, service=base.service, route=route.name)
    # Where chance decides, rules are told of the backend that gets the most.
    main = max(backends, key=lambda backend: (backend.chosen, backend.weight))
    subject = _subject(service, route, ServiceName(main.service), head, view)
    rules = tuple(rule for describe in DESCRIBERS for rule in describe(subject))
    return judged(replace(base, rules=rules, ruled=main.service), subject, view)


def _subject(
    service: CompiledService, route: CompiledRoute, backend: ServiceName, head: RequestHead, view: View
) -> Subject:
    gates = view.gates(service.service.name, backend)
    policy, cluster = policy_of(backend, view), view.cluster(backend)
    return Subject(head, service.service, route, backend, policy, cluster, gates, view.faults, view.live)
