"""HTTPRoute and GRPCRoute → routes of the model, in Gateway API's order of precedence.

A route of the model is one match of one rule on one host name, so that the order is total and the first match wins:

* gRPC before HTTP: a GRPCRoute's routes hold for gRPC requests only, so what they leave is the HTTPRoutes';
* the most specific host name: exact before wildcard, longer first, none last;
* HTTP: exact path, longest regular expression, longest prefix, a method, more headers, more query parameters;
  gRPC: longer service, longer method, more headers;
* the older document, then `namespace/name`, then the order in the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from remora.documents.durations import seconds
from remora.documents.filters import compile_filters, mirrored
from remora.documents.gateway import (
    GRPCBackendRef,
    GRPCMethodMatch,
    GRPCRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HeaderMatch,
    HTTPBackendRef,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    ParentRef,
)
from remora.documents.gateway import PathMatch as GatewayPathMatch
from remora.documents.gateway import SessionPersistence as GatewaySession
from remora.documents.kinds import Document, origin_of
from remora.documents.kinds import Route as RouteDocument
from remora.model.names import ServiceName, service_name
from remora.model.routes import Backend, FieldMatch, PathMatch, Route, RouteMatch, SessionPersistence, TextMatchKind

Rank = tuple[Any, ...]
"""Sorts routes by precedence; only ever compared with ranks."""

_PATH_RANKS = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
_TEXT_KINDS: dict[str, TextMatchKind] = {"Exact": "exact", "RegularExpression": "regex"}

_EVERY_GRPC = GRPCRouteMatch()
_EVERY_HTTP = HTTPRouteMatch()


class RankedRoute(msgspec.Struct, frozen=True):
    rank: Rank
    route: Route


RoutesByParent = Mapping[ServiceName, tuple[RankedRoute, ...]]


def parent_service(document: RouteDocument, parent: ParentRef) -> ServiceName:
    return service_name(parent.name, parent.namespace or document.metadata.namespace)


def parents(document: RouteDocument) -> tuple[ServiceName, ...]:
    """The services that a route document is for, each once."""
    return tuple(dict.fromkeys(parent_service(document, parent) for parent in document.spec.parent_refs))


def backends(document: RouteDocument) -> frozenset[ServiceName]:
    """The services that a route document sends requests to, be it copies of them."""
    return frozenset(service for _, service in backend_places(document))


def backend_places(document: RouteDocument) -> Iterator[tuple[str, ServiceName]]:
    """(place in the document, service that requests go to there)."""
    namespace = document.metadata.namespace
    rules: Sequence[HTTPRouteRule | GRPCRouteRule] = document.spec.rules
    for index, rule in enumerate(rules):
        place = f"spec.rules[{index}]"
        for number, service in mirrored(rule.filters, namespace):
            yield f"{place}.filters[{number}].requestMirror.backendRef", service
        refs: Sequence[HTTPBackendRef | GRPCBackendRef] = rule.backend_refs
        for number, ref in enumerate(refs):
            where = f"{place}.backendRefs[{number}]"
            yield where, service_name(ref.name, ref.namespace or namespace)
            for index_, service in mirrored(ref.filters, namespace):
                yield f"{where}.filters[{index_}].requestMirror.backendRef", service


def age(document: Document, created: int) -> Rank:
    """Sorts the older document first. `created`: the store's revision of its creation, 0 if nobody knows."""
    metadata = document.metadata
    return created, metadata.creation_timestamp or "~", f"{metadata.namespace}/{metadata.name}"


def compile_routes(document: RouteDocument, revision: int, created: int) -> RoutesByParent:
    """The model's routes of a checked document, for each of its parents."""
    oldest = age(document, created)
    ranked = [((*rank, *oldest, *place), route) for rank, place, route in _routes(document, revision)]
    compiled: dict[ServiceName, tuple[RankedRoute, ...]] = {}
    for parent in document.spec.parent_refs:
        routes = tuple(RankedRoute(rank, _for_parent(route, document, parent)) for rank, route in ranked)
        service = parent_service(document, parent)
        compiled[service] = compiled.get(service, ()) + routes
    return compiled


def _for_parent(route: Route, document: RouteDocument, parent: ParentRef) -> Route:
    own = document.metadata.namespace
    if parent.namespace not in (None, own):
        route = msgspec.structs.replace(route, consumers=own)
    if parent.port is not None:
        route = msgspec.structs.replace(route, match=msgspec.structs.replace(route.match, port=parent.port))
    return route


def _routes(document: RouteDocument, revision: int) -> Iterator[tuple[Rank, Rank, Route]]:
    for index in range(len(document.spec.rules)):
        base = _rule(document, index, revision)
        for number, (rank, match) in enumerate(_matches(document, index)):
            for host in document.spec.hostnames or ("",):
                hostnames = (host,) if host else ()
                route = msgspec.structs.replace(base, match=match, hostnames=hostnames)
                yield (rank[0], *_host_rank(host), *rank[1:]), (index, number), route


def _rule(document: RouteDocument, index: int, revision: int) -> Route:
    """What all routes of a rule share."""
    rule = document.spec.rules[index]
    name, namespace = document.metadata.name, document.metadata.namespace
    route = Route(
        name=f"{name}/{rule.name or f'rule-{index}'}",
        origin=origin_of(document, revision, index),
        match=RouteMatch(),
        backends=tuple(_backend(ref, namespace) for ref in rule.backend_refs),
        grpc_only=isinstance(document, GRPCRoute),
        filters=compile_filters(rule.filters, namespace),
        session=_session(rule.session_persistence, f"remora-{name}-{rule.name or index}"),
    )
    if not isinstance(rule, HTTPRouteRule):
        return route
    return msgspec.structs.replace(
        route,
        request_timeout_s=_seconds(rule.timeouts.request),
        per_try_timeout_s=_seconds(rule.timeouts.backend_request),
        retry_attempts=rule.retry.attempts,
        retry_codes=rule.retry.codes,
        retry_backoff_s=_seconds(rule.retry.backoff),
    )


def _backend(ref: HTTPBackendRef | GRPCBackendRef, namespace: str) -> Backend:
    own = compile_filters(ref.filters, namespace)
    return Backend(service_name(ref.name, ref.namespace or namespace), ref.weight, own)


def _session(session: GatewaySession | None, default_name: str) -> SessionPersistence | None:
    if session is None:
        return None
    return SessionPersistence(
        name=session.session_name or default_name,
        kind="cookie" if session.type == "Cookie" else "header",
        absolute_s=_seconds(session.absolute_timeout) or 0.0,
        idle_s=_seconds(session.idle_timeout) or 0.0,
        permanent=session.cookie_config.lifetime_type == "Permanent",
    )


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else seconds(duration)


def _matches(document: RouteDocument, index: int) -> Iterator[tuple[Rank, RouteMatch]]:
    if isinstance(document, HTTPRoute):
        for match in document.spec.rules[index].matches or (_EVERY_HTTP,):
            yield _http_match(match)
        return
    for grpc_match in document.spec.rules[index].matches or (_EVERY_GRPC,):
        yield _grpc_match(grpc_match)


def compile_match(match: HTTPRouteMatch) -> RouteMatch:
    """The model's match of one that stands elsewhere than in a route."""
    return _http_match(match)[1]


def _http_match(match: HTTPRouteMatch) -> tuple[Rank, RouteMatch]:
    rank = (
        1,
        _PATH_RANKS[match.path.type],
        -len(match.path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query_params),
    )
    query = tuple(FieldMatch(param.name, param.value, _TEXT_KINDS[param.type]) for param in match.query_params)
    return rank, RouteMatch(_path(match.path), match.method or "", _headers(match.headers), query)


def _grpc_match(match: GRPCRouteMatch) -> tuple[Rank, RouteMatch]:
    service = match.method.service if match.method else None
    method = match.method.method if match.method else None
    rank = (0, -len(service or ""), -len(method or ""), -len(match.headers))
    path = grpc_path(match.method) if match.method is not None else None
    return rank, RouteMatch(path, "POST", _headers(match.headers))


def grpc_path(method: GRPCMethodMatch) -> PathMatch:
    """The paths of the methods that are meant; a service, a method or both are. An empty name is any."""
    service, name = method.service or None, method.method or None
    if method.type == "RegularExpression" or service is None:
        return PathMatch("regex", f"/{_grpc_part(method, service)}/{_grpc_part(method, name)}")
    return PathMatch("prefix", f"/{service}") if name is None else PathMatch("exact", f"/{service}/{name}")


def _grpc_part(match: GRPCMethodMatch, name: str | None) -> str:
    """A name, or an expression of names, as part of an expression of paths."""
    if name is None:
        return "[^/]+"
    return f"(?:{name})" if match.type == "RegularExpression" else re.escape(name)


def _path(path: GatewayPathMatch) -> PathMatch | None:
    """A trailing '/' of a prefix does not count, and the prefix `/` holds for all, so for `*` and CONNECT too."""
    if path.type == "Exact":
        return PathMatch("exact", path.value)
    if path.type == "RegularExpression":
        return PathMatch("regex", path.value)
    value = path.value.rstrip("/")
    return PathMatch("prefix", value) if value else None


def _headers(headers: tuple[HeaderMatch, ...]) -> tuple[FieldMatch, ...]:
    return tuple(FieldMatch(header.name.lower(), header.value, _TEXT_KINDS[header.type]) for header in headers)


def _host_rank(host: str) -> Rank:
    if not host:
        return 2, 0
    return int(host.startswith("*.")), -len(host)
