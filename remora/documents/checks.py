"""What types cannot say about one document."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from remora.documents.breaking import check_breaker, check_health
from remora.documents.common_checks import check_is_service, check_twice
from remora.documents.errors import Fault
from remora.documents.fault_policy import FaultPolicy, InjectedFault
from remora.documents.faults import unix_time
from remora.documents.gateway import GRPCRoute, HTTPRoute, ReferenceGrant
from remora.documents.kinds import Document
from remora.documents.match_checks import check_match
from remora.documents.mesh import Balancer, HashKey, Locality, ServiceEndpoints, TargetRef, TrafficPolicy
from remora.documents.protection_policies import check_concurrency, check_fallback
from remora.documents.rate_limit_policy import Entry, External, Limit, LimitKey, RateLimitPolicy
from remora.documents.route_checks import check_grant, check_route

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z")
_KEY_KINDS = {"Header": "header", "Cookie": "cookie", "QueryParam": "query parameter"}


def check(document: Document) -> list[Fault]:
    """All faults of a document that has the right shape."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return list(check_route(document))
        case ReferenceGrant():
            return list(check_grant(document))
        case TrafficPolicy():
            return list(_policy(document))
        case RateLimitPolicy():
            return list(_rate_limit_policy(document))
        case FaultPolicy():
            return list(_fault_policy(document))
        case ServiceEndpoints():
            return list(_endpoints(document))


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
        yield from check_is_service(target.group, target.kind, f"spec.targetRefs[{index}]")
    yield from check_twice(targets, lambda target: target.name, "spec.targetRefs", "name")


def _hash_keys(keys: Sequence[HashKey], place: str) -> Iterator[Fault]:
    yield from check_twice(keys, lambda key: (key.type, key.name), place, "name")
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
        yield from check_match(match, f"{place}.matches[{number}]")


def _rate_limit_policy(policy: RateLimitPolicy) -> Iterator[Fault]:
    spec = policy.spec
    yield from _targets(spec.target_refs)
    if not spec.limits and spec.external is None:
        yield Fault("spec", "write limits, external, or both; without them nothing is limited")
    yield from check_twice(spec.limits, lambda limit: limit.name, "spec.limits", "name")
    for index, limit in enumerate(spec.limits):
        yield from _limit(limit, f"spec.limits[{index}]")
    if spec.external is not None:
        yield from _external(spec.external)


def _limit(limit: Limit, place: str) -> Iterator[Fault]:
    for number, match in enumerate(limit.matches):
        yield from check_match(match, f"{place}.matches[{number}]")
    for number, key in enumerate(limit.keys):
        yield from _source(key.type, key.name, f"{place}.keys[{number}]")
    yield from check_twice(limit.keys, _source_name, f"{place}.keys", "type")


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
    yield from check_twice(endpoints, lambda endpoint: (endpoint.address, endpoint.port), "spec.endpoints", "address")
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
