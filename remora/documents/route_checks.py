"""What types cannot say about routes and grants (the CEL rules of Gateway API, and what the mesh has not)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remora.documents.common_checks import check_is_service, check_twice
from remora.documents.durations import seconds
from remora.documents.errors import Fault
from remora.documents.filter_checks import check_filters, has_redirect
from remora.documents.gateway import (
    BackendRef,
    GRPCRouteMatch,
    GRPCRouteRule,
    HTTPRouteMatch,
    HTTPRouteRule,
    ParentRef,
    ReferenceGrant,
    RouteTimeouts,
    SessionPersistence,
)
from remora.documents.kinds import Route
from remora.documents.match_checks import check_match


def check_route(route: Route) -> Iterator[Fault]:
    namespace, parents = route.metadata.namespace, route.spec.parent_refs
    rules: Sequence[HTTPRouteRule | GRPCRouteRule] = route.spec.rules
    if not parents:
        yield Fault("spec.parentRefs", "name at least one Service that this route is for")
    for index, parent in enumerate(parents):
        yield from _parent(parent, f"spec.parentRefs[{index}]")
    same = check_twice(
        parents,
        lambda parent: (parent.namespace or namespace, parent.name, parent.port),
        "spec.parentRefs",
        "name",
    )
    yield from same
    if not rules:
        yield Fault("spec.rules", "write at least one rule with backendRefs")
    yield from check_twice(rules, lambda rule: rule.name, "spec.rules", "name")
    for index, rule in enumerate(rules):
        yield from _rule(rule, namespace, f"spec.rules[{index}]")


def check_grant(grant: ReferenceGrant) -> Iterator[Fault]:
    if not grant.spec.from_:
        yield Fault("spec.from", "name at least one namespace whose routes may refer to services here")
    if not grant.spec.to:
        yield Fault("spec.to", "write at least one {kind: Service}")


def _parent(parent: ParentRef, place: str) -> Iterator[Fault]:
    if parent.kind != "Service":
        message = f'a route of the mesh is for a Service, not a {parent.kind}: write kind: Service and group: ""'
        yield Fault(f"{place}.kind", message, ("Service",))
    elif parent.group != "":
        yield Fault(f"{place}.group", 'a parent of kind Service needs group: "" (the core group)', ('""',))


def _rule(rule: HTTPRouteRule | GRPCRouteRule, namespace: str, place: str) -> Iterator[Fault]:
    if not rule.backend_refs and not has_redirect(rule):
        yield Fault(f"{place}.backendRefs", "name at least one Service; without it nothing could answer")
    yield from _backends(rule.backend_refs, namespace, f"{place}.backendRefs")
    yield from check_filters(rule, place)
    matches: Sequence[HTTPRouteMatch | GRPCRouteMatch] = rule.matches
    for number, match in enumerate(matches):
        yield from check_match(match, f"{place}.matches[{number}]")
    if isinstance(rule, HTTPRouteRule):
        yield from _timeouts(rule.timeouts, f"{place}.timeouts")
    if rule.session_persistence is not None:
        yield from _session(rule.session_persistence, f"{place}.sessionPersistence")


def _backends(backends: Sequence[BackendRef], namespace: str, place: str) -> Iterator[Fault]:
    for index, backend in enumerate(backends):
        yield from check_is_service(backend.group, backend.kind, f"{place}[{index}]")
    yield from check_twice(backends, lambda backend: (backend.namespace or namespace, backend.name), place, "name")


def _timeouts(timeouts: RouteTimeouts, place: str) -> Iterator[Fault]:
    if timeouts.request is None or timeouts.backend_request is None:
        return
    total, one = seconds(timeouts.request), seconds(timeouts.backend_request)
    if total and one > total:
        yield Fault(f"{place}.backendRequest", "one try must not have more time than the whole request has")


def _session(session: SessionPersistence, place: str) -> Iterator[Fault]:
    permanent = session.cookie_config.lifetime_type == "Permanent"
    if permanent and not seconds(session.absolute_timeout or "0s"):
        yield Fault(f"{place}.absoluteTimeout", "a permanent cookie needs a time after which it ends")
    if permanent and session.type == "Header":
        yield Fault(f"{place}.cookieConfig", "does not go with type Header; take it out")
