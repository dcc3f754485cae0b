"""The compiled route table: from an authority to a service, from a request to the route that decides it.

Routes stand in order of precedence (control has sorted them as the Gateway API says) and the first that matches wins.
They are indexed by path, so that a request looks at the few that its path can match.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from urllib.parse import parse_qsl

from remora.model.base import Origin
from remora.model.names import ServiceName, service_of_host, split_authority
from remora.model.policies import RetryPolicy, ServicePolicy
from remora.model.routes import Backend, Route, RouteMatch
from remora.model.snapshot import Service, Snapshot
from remora.sidecar.wire.heads import RequestHead, field_value

MAX_AUTHORITIES = 4096
"""Authorities whose service is remembered; a flood of others only costs the look-up."""


class CompiledRoute:
    """A route with everything decided that does not depend on the request."""

    __slots__ = ("_bounds", "_by_path_only", "backends", "name", "order", "request_timeout_s", "retry", "route")

    def __init__(self, order: int, route: Route, policy: ServicePolicy) -> None:
        self.order = order
        self.route = route
        self.name = route.name
        used = [backend for backend in route.backends if backend.weight > 0]
        self.backends = tuple(backend.service for backend in used)
        self._bounds = list(itertools.accumulate(backend.weight for backend in used))
        timeout = route.request_timeout_s
        self.request_timeout_s = policy.timeouts.request_s if timeout is None else timeout
        self.retry = _retry_of(route, policy.retry)
        match = route.match
        self._by_path_only = not (match.method or match.headers or match.query or route.hostnames or route.grpc_only)

    def backend(self, random: float) -> ServiceName | None:
        """Where this request goes, by weight; None when no backend takes any. `random` is in [0, 1)."""
        backends = self.backends
        if len(backends) > 1:
            return backends[bisect.bisect_right(self._bounds, random * self._bounds[-1])]
        return backends[0] if backends else None

    def matches(self, head: RequestHead) -> bool:
        """Whether all but the path, which the index has matched, holds."""
        return self._by_path_only or self._matches_rest(head)

    def _matches_rest(self, head: RequestHead) -> bool:
        route = self.route
        match = route.match
        if match.method and match.method.encode() != head.method:
            return False
        if route.grpc_only and not head.is_grpc:
            return False
        if route.hostnames and not _any_host_matches(route.hostnames, host_of(head.authority)):
            return False
        if match.headers and not all(_header_matches(head, item.name, item.value) for item in match.headers):
            return False
        return not match.query or _query_matches(route, head.path)


class CompiledService:
    """A service's routes, indexed by path.

    Each exact path and each prefix has the list of all routes whose path it matches, shorter prefixes included, in
    order of precedence: a look-up finds one list and merges nothing.
    """

    __slots__ = ("_anywhere", "_exact", "_prefixes", "default", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.default = None if service.routes else CompiledRoute(0, _default_route(service.name), service.policy)
        """Decides every request of a service without routes."""
        routes = [CompiledRoute(order, route, service.policy) for order, route in enumerate(service.routes)]
        by_prefix: dict[str, list[CompiledRoute]] = {}
        by_path: dict[str, list[CompiledRoute]] = {}
        for compiled in routes:
            path = compiled.route.match.path
            if path is not None and path.kind == "exact":
                by_path.setdefault(path.value, []).append(compiled)
            else:
                by_prefix.setdefault("" if path is None else path.value.rstrip("/"), []).append(compiled)
        self._anywhere = by_prefix.get("", [])
        self._prefixes = {prefix.encode(): _along(prefix, by_prefix) for prefix in by_prefix if prefix}
        self._exact = {path.encode(): _along(path, by_prefix, by_path[path]) for path in by_path}

    def route(self, head: RequestHead) -> CompiledRoute | None:
        """The route that decides `head`; None when the service has routes and none matches."""
        if self.default is not None:
            return self.default
        for compiled in self.candidates(head.path):
            if compiled.matches(head):
                return compiled
        return None

    def candidates(self, target: bytes) -> list[CompiledRoute]:
        """The routes whose path matches `target`, in order of precedence."""
        path = target.partition(b"?")[0]
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        prefixes = self._prefixes
        while prefixes and path:
            found = prefixes.get(path)
            if found is not None:
                return found
            path = path.rpartition(b"/")[0]
        return self._anywhere


class RouteTable:
    """A snapshot, compiled for look-ups; immutable but for its memory of authorities."""

    __slots__ = ("_by_authority", "_by_host", "_namespace", "services", "snapshot")

    def __init__(self, snapshot: Snapshot, namespace: str) -> None:
        self.snapshot = snapshot
        self._namespace = namespace
        self.services = {name: CompiledService(service) for name, service in snapshot.services.items()}
        self._by_host = {host: compiled for compiled in self.services.values() for host in compiled.service.hostnames}
        self._by_authority: dict[bytes, CompiledService | None] = {}

    def find(self, authority: bytes) -> CompiledService | None:
        """The service that `authority` names, if it is in the snapshot."""
        try:
            return self._by_authority[authority]
        except KeyError:
            pass
        host = host_of(authority)
        compiled = self._by_host.get(host)
        if compiled is None:
            name = service_of_host(host, self._namespace)
            compiled = self.services.get(name) if name is not None else None
        if len(self._by_authority) < MAX_AUTHORITIES:
            self._by_authority[authority] = compiled
        return compiled


def host_of(authority: bytes) -> str:
    """The host of an authority, lower case; empty when it is none."""
    try:
        return split_authority(authority.decode("latin-1"))[0]
    except ValueError:
        return ""


def _default_route(service: ServiceName) -> Route:
    return Route("default", Origin("Service", "", service), RouteMatch(), (Backend(service),))


def _along(
    path: str, by_prefix: dict[str, list[CompiledRoute]], exact: Sequence[CompiledRoute] = ()
) -> list[CompiledRoute]:
    """`exact`, and the routes of every prefix of `path` that ends at a segment, in order of precedence."""
    found = [*exact, *by_prefix.get("", ())]
    while path:
        found += by_prefix.get(path, ())
        path = path.rpartition("/")[0]
    return sorted(found, key=lambda compiled: compiled.order)


def _any_host_matches(patterns: Sequence[str], host: str) -> bool:
    return any(host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in patterns)


def _header_matches(head: RequestHead, name: str, value: str) -> bool:
    return _request_field(head, name.encode()) == value.encode()


def _request_field(head: RequestHead, name: bytes) -> bytes | None:
    if name == b"content-type":
        return head.content_type
    if name == b"x-request-id":
        return head.request_id
    return field_value(head.fields, name)


def _query_matches(route: Route, target: bytes) -> bool:
    query = target.partition(b"?")[2].decode("latin-1")
    # Of a repeated parameter the first counts (Gateway API HTTPQueryParamMatch).
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, value)
    return all(values.get(item.name) == item.value for item in route.match.query)


def _retry_of(route: Route, policy: RetryPolicy) -> RetryPolicy:
    if route.retry_attempts is None and route.retry_codes is None:
        return policy
    return RetryPolicy(
        attempts=policy.attempts if route.retry_attempts is None else route.retry_attempts,
        codes=policy.codes if route.retry_codes is None else route.retry_codes,
        grpc_statuses=policy.grpc_statuses,
        safe_methods=policy.safe_methods,
    )
