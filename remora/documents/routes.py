"""HTTPRoute and GRPCRoute → routes of the model, in Gateway API's order of precedence.

A route of the model is one match of one rule on one host name, so that the order is total and the first match wins:

* gRPC before HTTP: a GRPCRoute's routes hold for gRPC requests only, so what they leave is the HTTPRoutes';
* the most specific host name: exact before wildcard, longer first, none last;
* HTTP: exact path, longest prefix, a method, more headers, more query parameters;
  gRPC: longer service, longer method, more headers;
* the older document, then `namespace/name`, then the order in the document.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from remora.documents.durations import seconds
from remora.documents.gateway import (
    BackendRef,
    GRPCRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HeaderMatch,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
)
from remora.documents.gateway import PathMatch as GatewayPathMatch
from remora.documents.kinds import Document, origin_of
from remora.documents.kinds import Route as RouteDocument
from remora.model.names import ServiceName, service_name
from remora.model.snapshot import Backend, FieldMatch, PathMatch, Route, RouteMatch

Rank = tuple[Any, ...]
"""Sorts routes by precedence; only ever compared with ranks."""

_EVERY_GRPC = GRPCRouteMatch()
_EVERY_HTTP = HTTPRouteMatch()


class RankedRoute(msgspec.Struct, frozen=True):
    rank: Rank
    route: Route


def parents(document: RouteDocument) -> tuple[ServiceName, ...]:
    """The services that a route document is for."""
    return tuple(service_name(parent.name, document.metadata.namespace) for parent in document.spec.parent_refs)


def backends(document: RouteDocument) -> frozenset[ServiceName]:
    """The services that a route document sends requests to."""
    namespace = document.metadata.namespace
    return frozenset(
        service_name(backend.name, backend.namespace or namespace)
        for rule in document.spec.rules
        for backend in rule.backend_refs
    )


def age(document: Document, created: int) -> Rank:
    """Sorts the older document first. `created`: the store's revision of its creation, 0 if nobody knows."""
    metadata = document.metadata
    return created, metadata.creation_timestamp or "~", f"{metadata.namespace}/{metadata.name}"


def compile_routes(document: RouteDocument, revision: int, created: int) -> tuple[RankedRoute, ...]:
    """The model's routes of a checked document."""
    oldest = age(document, created)
    return tuple(RankedRoute((*rank, *oldest, *place), route) for rank, place, route in _routes(document, revision))


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
    timeout: float | None = None
    attempts: int | None = None
    codes: tuple[int, ...] | None = None
    if isinstance(rule, HTTPRouteRule):
        timeout = None if rule.timeouts.request is None else seconds(rule.timeouts.request)
        attempts, codes = rule.retry.attempts, rule.retry.codes
    return Route(
        name=f"{document.metadata.name}/{rule.name or f'rule-{index}'}",
        origin=origin_of(document, revision, index),
        match=RouteMatch(),
        backends=_backends(rule, document.metadata.namespace),
        grpc_only=isinstance(document, GRPCRoute),
        request_timeout_s=timeout,
        retry_attempts=attempts,
        retry_codes=codes,
    )


def _backends(rule: HTTPRouteRule | GRPCRouteRule, namespace: str) -> tuple[Backend, ...]:
    def backend(ref: BackendRef) -> Backend:
        return Backend(service_name(ref.name, ref.namespace or namespace), ref.weight)

    return tuple(backend(ref) for ref in rule.backend_refs)


def _matches(document: RouteDocument, index: int) -> Iterator[tuple[Rank, RouteMatch]]:
    if isinstance(document, HTTPRoute):
        for match in document.spec.rules[index].matches or (_EVERY_HTTP,):
            yield _http_match(match)
        return
    for grpc_match in document.spec.rules[index].matches or (_EVERY_GRPC,):
        yield _grpc_match(grpc_match)


def _http_match(match: HTTPRouteMatch) -> tuple[Rank, RouteMatch]:
    is_prefix = match.path.type == "PathPrefix"
    rank = (
        1,
        is_prefix,
        -len(match.path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query_params),
    )
    query = tuple(FieldMatch(param.name, param.value) for param in match.query_params)
    return rank, RouteMatch(_path(match.path), match.method or "", _headers(match.headers), query)


def _grpc_match(match: GRPCRouteMatch) -> tuple[Rank, RouteMatch]:
    service = match.method.service if match.method else None
    method = match.method.method if match.method else None
    rank = (0, -len(service or ""), -len(method or ""), -len(match.headers))
    path: PathMatch | None = None
    if service and method:
        path = PathMatch("exact", f"/{service}/{method}")
    elif service:
        path = PathMatch("prefix", f"/{service}")
    return rank, RouteMatch(path, "POST", _headers(match.headers))


def _path(path: GatewayPathMatch) -> PathMatch | None:
    """A trailing '/' of a prefix does not count, and the prefix `/` holds for all, so for `*` and CONNECT too."""
    if path.type == "Exact":
        return PathMatch("exact", path.value)
    value = path.value.rstrip("/")
    return PathMatch("prefix", value) if value else None


def _headers(headers: tuple[HeaderMatch, ...]) -> tuple[FieldMatch, ...]:
    return tuple(FieldMatch(header.name.lower(), header.value) for header in headers)


def _host_rank(host: str) -> Rank:
    if not host:
        return 2, 0
    return int(host.startswith("*.")), -len(host)
