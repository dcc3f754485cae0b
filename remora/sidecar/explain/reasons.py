"""Why a request goes where it goes: each step of `listener/outbound.py`, told instead of taken.

What is chosen is found by the same conditions, backends and gates as for a request that is there; only the index of
paths is not used, so that each route can say why it is not the one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from remora.model.names import ServiceName, service_of_host, split_authority
from remora.model.policies import FallbackCause, ServicePolicy
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.explain import endpoints, filters
from remora.sidecar.explain.numbers import percent
from remora.sidecar.explain.policies import DESCRIBERS
from remora.sidecar.explain.routes import considered
from remora.sidecar.explain.subject import Subject, View
from remora.sidecar.explain.values import Asked, BackendFacts, Explanation, Failing, Rule
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.routing.match import host_of
from remora.sidecar.routing.table import CompiledBackend, CompiledRoute, CompiledService
from remora.sidecar.upstream.cluster import policies_of
from remora.sidecar.wire.heads import FORWARDED, RequestHead

_LIFTED = {"content-type": "content_type", "x-request-id": "request_id", "traceparent": "trace_parent"}


def head_of(asked: Asked) -> RequestHead:
    """The head that such a request would have."""
    fields = [(name.encode(), value.encode()) for name, value in asked.headers if name.lower() not in _LIFTED]
    head = RequestHead(asked.method.encode(), asked.path.encode(), asked.authority.encode(), fields)
    head.was_forwarded = any(name.lower().encode() in FORWARDED for name, _ in asked.headers)
    for name, value in asked.headers:
        if name.lower() in _LIFTED:
            setattr(head, _LIFTED[name.lower()], value.encode())
    return head


def explain(asked: Asked, view: View) -> Explanation:
    """What would happen to such a request, and why."""
    head, table = head_of(asked), view.table
    base = Explanation(asked, table.snapshot.revision, view.config, view.live)
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
        return _fails(replace(base, found=f"there is no service {bound}"), failures.NO_ENDPOINT, service=bound)
    found = f"{authority or 'an empty authority'} names no service of the mesh"
    base = replace(base, found=found)
    if view.outbound_policy == "registry-only":
        return _fails(base, failures.NOT_IN_REGISTRY, authority=authority)
    try:
        host, port = split_authority(authority)
    except ValueError:
        host, port = "", None
    if not host:
        return _fails(base, failures.BAD_AUTHORITY, authority=authority)
    return replace(base, now=(f"it goes past the mesh, to {host} port {port or 80}, as it is",))


# ── of the mesh ──


def _in_mesh(base: Explanation, service: CompiledService, head: RequestHead, view: View) -> Explanation:
    base = replace(base, considered=considered(service, head))
    route = _chosen(service, base)
    if route is None and head.method == b"CONNECT":
        return replace(base, now=(f"no route takes it: the tunnel goes to {base.service} itself",))
    if route is None:
        method, path = head.method.decode("latin-1"), head.path.partition(b"?")[0].decode("latin-1")
        return _fails(base, failures.NO_ROUTE, service=base.service, method=method, path=path)
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
    pinned = _of_session(route, head, view)
    chosen = _certain(route, head) if pinned is None else pinned[0]
    facts = tuple(_backend_facts(route, chosen, view, head))
    if pinned is not None:
        facts = tuple(replace(each, session=pinned[1]) if each.chosen else each for each in facts)
    base = replace(base, backends=facts)
    if chosen is None and not route.backends:
        return _fails(base, failures.NO_BACKEND, service=base.service, route=route.name)
    # Where chance decides, rules are told of the backend that gets the most.
    weights = {backend.service: backend.weight for backend in route.route.backends}
    main = chosen or max(route.backends, key=lambda backend: weights[backend.service])
    subject = _subject(service, route, main.service, head, view)
    rules = tuple(rule for describe in DESCRIBERS for rule in describe(subject))
    changes = tuple(filters.sees(head, _filters(route, main)))
    base = replace(base, rules=rules, sees=changes)
    possible = [backend for backend in facts if backend.chosen or (chosen is None and backend.weight)]
    against = [_objection(backend.service, view) for backend in possible]
    if all(against):
        return _fallen(_fails_with(base, next(each for each in against if each)), subject, "breaker")
    if not any(backend.endpoints for backend in possible):
        return _fallen(_fails(base, failures.NO_ENDPOINT, service=possible[0].service), subject, "no_endpoint")
    return replace(base, now=(*_on_the_way(rules), *_destinations(possible, against)))


def _objection(service: str, view: View) -> Failing | None:
    """What stands against attempts now: a breaker, or a cap."""
    cluster = view.cluster(ServiceName(service))
    found = None if cluster is None else cluster.objection()
    if found is None:
        return None
    failure = failures.OF_LIMIT[found.limit]
    details = {"service": service, "document": found.document, "most": found.most, "wait_s": found.wait_s}
    return Failing(failure.flag, failure.status, failure.code, failure.sentence.format(**details))


def _fallen(base: Explanation, subject: Subject, cause: FallbackCause) -> Explanation:
    """With what answers instead, if something does."""
    fallback = subject.service.policy.fallback
    if fallback is None or cause not in fallback.on:
        return base
    return replace(base, now=(*base.now, "its fallback answers instead"), failing=None)


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
    made: list[tuple[bytes, bytes]] = []
    key = None if route.keys is None else route.keys.read(head, made, 0)
    # A cookie that would be made now is as good as chance.
    return None if key is None or made else route.backend_of(key)


def _subject(
    service: CompiledService, route: CompiledRoute, backend: ServiceName, head: RequestHead, view: View
) -> Subject:
    policy = policies_of(view.table.snapshot).get(backend, ServicePolicy())
    gates = view.gates(service.service.name, backend)
    cluster = view.cluster(backend)
    return Subject(head, service.service, route, backend, policy, cluster, gates, view.faults, view.live)


def _filters(route: CompiledRoute, backend: CompiledBackend) -> tuple[CompiledFilters, ...]:
    return tuple(each for each in (route.filters, backend.filters) if each is not None)


def _backend_facts(
    route: CompiledRoute, chosen: CompiledBackend | None, view: View, head: RequestHead
) -> Iterator[BackendFacts]:
    total = sum(backend.weight for backend in route.route.backends)
    snapshot = view.table.snapshot
    policies = policies_of(snapshot)
    for backend in route.route.backends:
        cluster, known = view.cluster(backend.service), snapshot.endpoints.get(backend.service)
        found = tuple(endpoints.live(cluster)) if cluster is not None else ()
        if not view.live and known is not None:
            found = tuple(endpoints.static(known.endpoints))
        done = (*filters.told(route.route.filters), *filters.told(backend.filters))
        kind = policies.get(backend.service, ServicePolicy()).balancer.kind.replace("_", " ")
        share = backend.weight / total if total else 0.0
        zones = () if cluster is None else tuple(endpoints.zones(cluster))
        certain = chosen is not None and chosen.service == backend.service
        place = "" if cluster is None or not view.live else endpoints.place(cluster, head)
        yield BackendFacts(backend.service, backend.weight, share, kind, found, done, zones, certain, place)


def _on_the_way(rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        if rule.name == "fault" and rule.applies:
            yield f"on purpose ({rule.source.document}): {rule.says[0]}"


def _destinations(facts: Sequence[BackendFacts], against: Sequence[Failing | None]) -> Iterator[str]:
    for backend, objection in zip(facts, against, strict=True):
        chance = "" if backend.chosen else f" ({percent(backend.share)} of such requests)"
        usable = [endpoint for endpoint in backend.endpoints if endpoint.usable]
        if objection is not None:
            yield f"what is for {backend.service}{chance} is answered {objection.status}: {objection.sentence}"
        elif not backend.endpoints:
            yield f"{backend.service}{chance} has no endpoint: {failures.NO_ENDPOINT.status}, flag UH"
        elif not usable:
            yield f"{backend.service}{chance} lets no request through: 503, flag UO while its breaker is open, else UH"
        elif backend.session:
            yield f"it goes to {backend.service}, where its session is, at {backend.session}"
        elif backend.place:
            yield f"it goes to {backend.service}{chance}, where its key leads to {backend.place}"
        elif len(usable) == 1:
            yield f"it goes to {backend.service}{chance}, at {usable[0].address}"
        else:
            yield f"it goes to {backend.service}{chance}, at one of {len(usable)} usable endpoints"


def _fails(base: Explanation, failure: Failure, **details: object) -> Explanation:
    return _fails_with(base, Failing(failure.flag, failure.status, failure.code, failure.sentence.format(**details)))


def _fails_with(base: Explanation, failing: Failing) -> Explanation:
    now = f"the sidecar answers {failing.status} itself: {failing.sentence}"
    return replace(base, failing=failing, now=(now,))
