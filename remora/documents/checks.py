"""What types cannot say about one document."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from remora.documents.breaking import check_breaker, check_health
from remora.documents.durations import seconds
from remora.documents.errors import Fault
from remora.documents.fault_policy import FaultPolicy, InjectedFault
from remora.documents.faults import unix_time
from remora.documents.fields import URL_PATH
from remora.documents.filter_checks import check_filters, has_redirect
from remora.documents.gateway import (
    BackendRef,
    GRPCMethodMatch,
    GRPCRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HeaderMatch,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    ParentRef,
    PathMatch,
    QueryParamMatch,
    ReferenceGrant,
    RouteTimeouts,
    SessionPersistence,
)
from remora.documents.kinds import Document, Route
from remora.documents.mesh import Balancer, HashKey, Locality, ServiceEndpoints, TargetRef, TrafficPolicy
from remora.documents.protection_policies import check_concurrency, check_fallback
from remora.documents.rate_limit_policy import Entry, External, Limit, LimitKey, RateLimitPolicy
from remora.model.regex import RegexError, compile_regex

T = TypeVar("T")

_NEVER_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NEVER_AT_END = ("/.", "/..")
_PATH = re.compile(URL_PATH)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z")
_KEY_KINDS = {"Header": "header", "Cookie": "cookie", "QueryParam": "query parameter"}
_GRPC_SERVICE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*\Z")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


def check(document: Document) -> list[Fault]:
    """All faults of a document that has the right shape."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return list(_route(document))
        case ReferenceGrant():
            return list(_grant(document))
        case TrafficPolicy():
            return list(_policy(document))
        case RateLimitPolicy():
            return list(_rate_limit_policy(document))
        case FaultPolicy():
            return list(_fault_policy(document))
        case ServiceEndpoints():
            return list(_endpoints(document))


def _route(route: Route) -> Iterator[Fault]:
    parents = route.spec.parent_refs
    rules: Sequence[HTTPRouteRule | GRPCRouteRule] = route.spec.rules
    if not parents:
        yield Fault("spec.parentRefs", "name at least one Service that this route is for")
    for index, parent in enumerate(parents):
        yield from _parent(parent, f"spec.parentRefs[{index}]")
    yield from _twice(parents, lambda parent: (parent.namespace, parent.name, parent.port), "spec.parentRefs", "name")
    if not rules:
        yield Fault("spec.rules", "write at least one rule with backendRefs")
    yield from _twice(rules, lambda rule: rule.name, "spec.rules", "name")
    for index, rule in enumerate(rules):
        yield from _rule(rule, f"spec.rules[{index}]")


def _rule(rule: HTTPRouteRule | GRPCRouteRule, place: str) -> Iterator[Fault]:
    if not rule.backend_refs and not has_redirect(rule):
        yield Fault(f"{place}.backendRefs", "name at least one Service; without it nothing could answer")
    yield from _backends(rule.backend_refs, f"{place}.backendRefs")
    yield from check_filters(rule, place)
    matches: Sequence[HTTPRouteMatch | GRPCRouteMatch] = rule.matches
    for number, match in enumerate(matches):
        yield from _match(match, f"{place}.matches[{number}]")
    if isinstance(rule, HTTPRouteRule):
        yield from _timeouts(rule.timeouts, f"{place}.timeouts")
    if rule.session_persistence is not None:
        yield from _session(rule.session_persistence, f"{place}.sessionPersistence")


def _parent(parent: ParentRef, place: str) -> Iterator[Fault]:
    if parent.kind != "Service":
        message = f'a route of the mesh is for a Service, not a {parent.kind}: write kind: Service and group: ""'
        yield Fault(f"{place}.kind", message, ("Service",))
    elif parent.group != "":
        yield Fault(f"{place}.group", 'a parent of kind Service needs group: "" (the core group)', ('""',))


def _backends(backends: Sequence[BackendRef], place: str) -> Iterator[Fault]:
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
    yield from _texts(match.headers, f"{place}.headers")
    if isinstance(match, HTTPRouteMatch):
        yield from _path(match.path, f"{place}.path.value")
        yield from _twice(match.query_params, lambda param: param.name, f"{place}.queryParams", "name")
        yield from _texts(match.query_params, f"{place}.queryParams")
    elif match.method is not None:
        yield from _grpc_method(match.method, f"{place}.method")


def _header_name(header: HeaderMatch) -> str:
    return header.name.lower()


def _texts(matches: Iterable[HeaderMatch | QueryParamMatch], place: str) -> Iterator[Fault]:
    for index, match in enumerate(matches):
        if match.type == "RegularExpression":
            yield from _regex(match.value, f"{place}[{index}].value")


def _grpc_method(method: GRPCMethodMatch, place: str) -> Iterator[Fault]:
    if method.service is None and method.method is None:
        yield Fault(place, "write a service, a method, or both")
    for field, value, form in (
        ("service", method.service, _GRPC_SERVICE),
        ("method", method.method, _GRPC_METHOD),
    ):
        if value is None:
            continue
        if method.type == "RegularExpression":
            yield from _regex(value, f"{place}.{field}")
        elif form.match(value) is None:
            example = "service name such as shop.v1.Orders" if field == "service" else "method name such as GetOrder"
            yield Fault(f"{place}.{field}", f"{value!r} is not a full gRPC {example}")


def _regex(text: str, place: str) -> Iterator[Fault]:
    try:
        compile_regex(text)
    except RegexError as error:
        yield Fault(place, f"{text!r} is not a regular expression of RE2: {error}")


def _path(path: PathMatch, place: str) -> Iterator[Fault]:
    if path.type == "RegularExpression":
        yield from _regex(path.value, place)
        return
    if _PATH.match(path.value) is None:
        form = "an absolute path: it starts with '/' and has only characters that a URL path may have"
        yield Fault(place, f"{path.value!r} is not {form}")
        return
    for part in _NEVER_IN_PATHS:
        if part in path.value:
            yield Fault(place, f"{path.value!r} must not contain {part!r}")
            return
    if path.value.endswith(_NEVER_AT_END):
        yield Fault(place, f"{path.value!r} must not end with a '.' or '..' segment")


def _session(session: SessionPersistence, place: str) -> Iterator[Fault]:
    permanent = session.cookie_config.lifetime_type == "Permanent"
    if permanent and session.absolute_timeout is None:
        yield Fault(f"{place}.absoluteTimeout", "a permanent cookie needs a time after which it ends")
    if permanent and session.type == "Header":
        yield Fault(f"{place}.cookieConfig", "does not go with type Header; take it out")


def _timeouts(timeouts: RouteTimeouts, place: str) -> Iterator[Fault]:
    if timeouts.request is None or timeouts.backend_request is None:
        return
    total, one = seconds(timeouts.request), seconds(timeouts.backend_request)
    if total and one > total:
        yield Fault(f"{place}.backendRequest", "one try must not have more time than the whole request has")


def _grant(grant: ReferenceGrant) -> Iterator[Fault]:
    if not grant.spec.from_:
        yield Fault("spec.from", "name at least one namespace whose routes may refer to services here")
    if not grant.spec.to:
        yield Fault("spec.to", "write at least one {kind: Service}")


def _policy(policy: TrafficPolicy) -> Iterator[Fault]:
    yield from _targets(policy.spec.target_refs)
    yield from _balancer(policy.spec.balancer)
    yield from _locality(policy.spec.locality)
    yield from _hash_keys(policy.spec.split.sticky_by, "spec.split.stickyBy")
    yield from check_concurrency(policy.spec.concurrency)
    if policy.spec.breaker is not None:
        yield from check_breaker(policy.spec.breaker, "spec.breaker")
    yield from check_fallback(policy.spec.fallback, [target.name for target in policy.spec.target_refs])
    if policy.spec.health is not None:
        yield from check_health(policy.spec.health, "spec.health")


_HASHING = ("RingHash", "Maglev")


def _balancer(balancer: Balancer) -> Iterator[Fault]:
    yield from _hash_keys(balancer.hash_on, "spec.balancer.hashOn")
    if balancer.type in _HASHING:
        if not balancer.hash_on:
            yield Fault("spec.balancer.hashOn", f"{balancer.type} needs at least one key of requests to go by")
        if balancer.slow_start is not None:
            message = f"does not go with {balancer.type}, which keeps keys where they are; take it out"
            yield Fault("spec.balancer.slowStart", message)
        return
    for field, value in (("hashOn", balancer.hash_on), ("boundedLoad", balancer.bounded_load)):
        if value:
            message = f"does not go with {balancer.type}; take it out or use a type that hashes"
            yield Fault(f"spec.balancer.{field}", message, _HASHING)


def _locality(locality: Locality) -> Iterator[Fault]:
    if locality.failover and locality.mode == "Any":
        yield Fault("spec.locality.failover", "needs mode: ZoneFirst", ("ZoneFirst",))
    for index, zone in enumerate(locality.failover):
        if zone in locality.failover[:index]:
            yield Fault(f"spec.locality.failover[{index}]", "is there twice in this list; keep one")


def _targets(targets: Sequence[TargetRef]) -> Iterator[Fault]:
    if not targets:
        yield Fault("spec.targetRefs", "name at least one Service that this policy is for")
    for index, target in enumerate(targets):
        yield from _is_service(target.group, target.kind, f"spec.targetRefs[{index}]")
    yield from _twice(targets, lambda target: target.name, "spec.targetRefs", "name")


def _hash_keys(keys: Sequence[HashKey], place: str) -> Iterator[Fault]:
    yield from _twice(keys, lambda key: (key.type, key.name), place, "name")
    for index, key in enumerate(keys):
        if key.type == "SourceAddress":
            if key.name is not None:
                yield Fault(f"{place}[{index}].name", "does not go with type SourceAddress; take it out")
        elif key.name is None:
            yield Fault(f"{place}[{index}].name", f"name the {_KEY_KINDS[key.type]}")
        elif key.type != "QueryParam" and _TOKEN.match(key.name) is None:
            yield Fault(f"{place}[{index}].name", f"{key.name!r} is not the name of a {_KEY_KINDS[key.type]}")
        if key.ttl is not None and key.type != "Cookie":
            yield Fault(f"{place}[{index}].ttl", f"does not go with type {key.type}; only cookies are made")


def _fault_policy(policy: FaultPolicy) -> Iterator[Fault]:
    spec = policy.spec
    yield from _targets(spec.target_refs)
    if not spec.faults:
        yield Fault("spec.faults", "write at least one fault, with a delay, an abort, or both")
    for index, fault in enumerate(spec.faults):
        yield from _injected_fault(fault, f"spec.faults[{index}]")
    if spec.expires is not None and not _is_time(spec.expires):
        yield Fault("spec.expires", f"{spec.expires!r} is no date that a calendar has")


def _injected_fault(fault: InjectedFault, place: str) -> Iterator[Fault]:
    if fault.delay is None and fault.abort is None:
        yield Fault(place, "write a delay, an abort, or both")
    if fault.abort is not None and fault.abort.status is None and fault.abort.grpc_status is None:
        yield Fault(f"{place}.abort", "write a status, a grpcStatus, or both")
    for number, match in enumerate(fault.matches):
        yield from _match(match, f"{place}.matches[{number}]")


def _rate_limit_policy(policy: RateLimitPolicy) -> Iterator[Fault]:
    spec = policy.spec
    yield from _targets(spec.target_refs)
    if not spec.limits and spec.external is None:
        yield Fault("spec", "write limits, external, or both; without them nothing is limited")
    yield from _twice(spec.limits, lambda limit: limit.name, "spec.limits", "name")
    for index, limit in enumerate(spec.limits):
        yield from _limit(limit, f"spec.limits[{index}]")
    if spec.external is not None:
        yield from _external(spec.external)


def _limit(limit: Limit, place: str) -> Iterator[Fault]:
    for number, match in enumerate(limit.matches):
        yield from _match(match, f"{place}.matches[{number}]")
    for number, key in enumerate(limit.keys):
        yield from _source(key.type, key.name, f"{place}.keys[{number}]")
    yield from _twice(limit.keys, _source_name, f"{place}.keys", "type")


def _external(external: External) -> Iterator[Fault]:
    place = "spec.external"
    if not 0 < int(external.address.rpartition(":")[2]) < 65536:
        yield Fault(f"{place}.address", f"{external.address!r} has no port from 1 to 65535")
    if not external.descriptors:
        yield Fault(f"{place}.descriptors", "write at least one descriptor; without one nothing could be asked")
    for index, descriptor in enumerate(external.descriptors):
        where = f"{place}.descriptors[{index}].entries"
        if not descriptor.entries:
            yield Fault(where, "write at least one entry")
        for number, entry in enumerate(descriptor.entries):
            yield from _entry(entry, f"{where}[{number}]")


def _entry(entry: Entry, place: str) -> Iterator[Fault]:
    yield from _source(entry.type, entry.name, place)
    if (entry.value is None) == (entry.type == "Value"):
        yield Fault(f"{place}.value", "goes with type Value, which needs it, and with no other")


def _source(kind: str, name: str | None, place: str) -> Iterator[Fault]:
    if (name is None) == (kind == "Header"):
        yield Fault(f"{place}.name", "goes with type Header, which needs it, and with no other")


def _source_name(key: LimitKey) -> tuple[str, str]:
    return key.type, (key.name or "").lower()


def _is_time(text: str) -> bool:
    try:
        unix_time(text)
    except ValueError:
        return False
    return True


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
