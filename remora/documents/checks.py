"""What types cannot say about one document."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from remora.documents.errors import Fault
from remora.documents.gateway import (
    BackendRef,
    GRPCRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HeaderMatch,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    ParentRef,
    PathMatch,
)
from remora.documents.kinds import Document, Route
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy

T = TypeVar("T")

_NEVER_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NEVER_AT_END = ("/.", "/..")


def check(document: Document) -> list[Fault]:
    """All faults of a document that has the right shape."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return list(_route(document))
        case TrafficPolicy():
            return list(_policy(document))
        case ServiceEndpoints():
            return list(_endpoints(document))


def _route(route: Route) -> Iterator[Fault]:
    parents = route.spec.parent_refs
    rules: Sequence[HTTPRouteRule | GRPCRouteRule] = route.spec.rules
    if not parents:
        yield Fault("spec.parentRefs", "name at least one Service that this route is for")
    for index, parent in enumerate(parents):
        yield from _parent(parent, route.metadata.namespace, f"spec.parentRefs[{index}]")
    yield from _twice(parents, lambda parent: parent.name, "spec.parentRefs", "name")
    if not rules:
        yield Fault("spec.rules", "write at least one rule with backendRefs")
    yield from _twice(rules, lambda rule: rule.name, "spec.rules", "name")
    for index, rule in enumerate(rules):
        place = f"spec.rules[{index}]"
        if not rule.backend_refs:
            yield Fault(f"{place}.backendRefs", "name at least one Service; without it nothing could answer")
        yield from _backends(rule.backend_refs, f"{place}.backendRefs")
        matches: Sequence[HTTPRouteMatch | GRPCRouteMatch] = rule.matches
        for number, match in enumerate(matches):
            yield from _match(match, f"{place}.matches[{number}]")


def _parent(parent: ParentRef, own_namespace: str, place: str) -> Iterator[Fault]:
    if parent.kind != "Service":
        message = f'a route of the mesh is for a Service, not a {parent.kind}: write kind: Service and group: ""'
        yield Fault(f"{place}.kind", message, ("Service",))
    elif parent.group != "":
        yield Fault(f"{place}.group", 'a parent of kind Service needs group: "" (the core group)', ('""',))
    if parent.namespace not in (None, own_namespace):
        message = f"must be the route's own namespace, {own_namespace}: routes for callers only are not supported yet"
        yield Fault(f"{place}.namespace", message, (own_namespace,))


def _backends(backends: Iterable[BackendRef], place: str) -> Iterator[Fault]:
    for index, backend in enumerate(backends):
        yield from _is_service(backend.group, backend.kind, f"{place}[{index}]")
    yield from _twice(backends, lambda backend: (backend.namespace, backend.name), place, "name")


def _is_service(group: str, kind: str, place: str) -> Iterator[Fault]:
    if kind != "Service":
        yield Fault(f"{place}.kind", f"{kind!r} is not supported; the mesh knows Services", ("Service",))
    if group != "":
        yield Fault(f"{place}.group", f'{group!r} is not supported; a Service has group ""', ('""',))


def _match(match: HTTPRouteMatch | GRPCRouteMatch, place: str) -> Iterator[Fault]:
    yield from _twice(match.headers, _header_name, f"{place}.headers", "name")
    if isinstance(match, HTTPRouteMatch):
        yield from _path(match.path, f"{place}.path.value")
        yield from _twice(match.query_params, lambda param: param.name, f"{place}.queryParams", "name")
    elif match.method is not None and match.method.service is None:
        if match.method.method is None:
            yield Fault(f"{place}.method", "write a service, or a service and a method")
        else:
            yield Fault(f"{place}.method.service", "a method without its service is not supported yet; add the service")


def _header_name(header: HeaderMatch) -> str:
    return header.name.lower()


def _path(path: PathMatch, place: str) -> Iterator[Fault]:
    for part in _NEVER_IN_PATHS:
        if part in path.value:
            yield Fault(place, f"{path.value!r} must not contain {part!r}")
            return
    if path.value.endswith(_NEVER_AT_END):
        yield Fault(place, f"{path.value!r} must not end with a '.' or '..' segment")


def _policy(policy: TrafficPolicy) -> Iterator[Fault]:
    targets = policy.spec.target_refs
    if not targets:
        yield Fault("spec.targetRefs", "name at least one Service that this policy is for")
    for index, target in enumerate(targets):
        yield from _is_service(target.group, target.kind, f"spec.targetRefs[{index}]")
    yield from _twice(targets, lambda target: target.name, "spec.targetRefs", "name")


def _endpoints(document: ServiceEndpoints) -> Iterator[Fault]:
    endpoints = document.spec.endpoints
    yield from _twice(endpoints, lambda endpoint: (endpoint.address, endpoint.port), "spec.endpoints", "address")
    for index, endpoint in enumerate(endpoints):
        if ":" in endpoint.address and not _is_ipv6(endpoint.address):
            message = f"{endpoint.address!r} is not an address; the port has a field of its own"
            yield Fault(f"spec.endpoints[{index}].address", message)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _twice(items: Iterable[T], key: Callable[[T], Hashable], place: str, field: str) -> Iterator[Fault]:
    """A fault for each item whose key an earlier one has; None is no key."""
    seen: Counter[Hashable] = Counter()
    for index, item in enumerate(items):
        value = key(item)
        if value is None:
            continue
        if seen[value]:
            yield Fault(f"{place}[{index}].{field}", "is there twice in this list; keep one")
        seen[value] += 1
