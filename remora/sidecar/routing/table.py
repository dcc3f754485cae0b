"""The compiled route table: from an authority to a service, from a request to the route that decides it.

Routes stand in order of precedence (control has sorted them as the Gateway API says) and the first that matches wins.
They are indexed by path, so that a request looks at the few that its path can match.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from remora.model.base import Origin
from remora.model.names import ServiceName, service_of_host
from remora.model.policies import RetryPolicy
from remora.model.regex import RegexError
from remora.model.routes import Backend, Filters, Route, RouteMatch
from remora.model.snapshot import Service, Snapshot, SnapshotError
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.routing.keys import KeyReader
from remora.sidecar.routing.match import Matcher, conditions_of, host_of
from remora.sidecar.routing.session import SessionRule
from remora.sidecar.routing.split import Split
from remora.sidecar.wire.heads import RequestHead

MAX_AUTHORITIES = 4096
"""Authorities whose service is remembered; a flood of others only costs the look-up."""

MAX_AUTHORITY_BYTES = 261
"""Of one that is remembered: a host name of 255 and a port."""

_LONGEST_BACKOFF = 10
"""Times a route's own backoff."""


class CompiledBackend:
    """Where a share of a route's requests goes."""

    __slots__ = ("filters", "service")

    def __init__(self, backend: Backend, prefix: str) -> None:
        """`prefix`: what stands there of what the route's match has matched, once the route's filters are done."""
        self.service = backend.service
        self.filters = CompiledFilters(backend.filters, prefix) if backend.filters else None


class CompiledRoute:
    """A route with everything decided that does not depend on the request."""

    __slots__ = (
        "_split",
        "backends",
        "conditions",
        "filters",
        "keeps_users",
        "keys",
        "mirrors",
        "name",
        "order",
        "prefix",
        "request_timeout_s",
        "retry",
        "route",
        "session",
        "targets",
    )

    def __init__(self, order: int, route: Route, service: Service) -> None:
        policy = service.policy
        self.order = order
        self.route = route
        self.name = route.name
        path = route.match.path
        self.prefix = path.value if path is not None and path.kind == "prefix" else ""
        self.conditions = conditions_of(route)
        self.filters = CompiledFilters(route.filters, self.prefix) if route.filters else None
        behind = _prefix_behind(route.filters, self.prefix)
        self.targets = {backend.service: CompiledBackend(backend, behind) for backend in route.backends}
        """All backends: sessions stay even with those that take nothing new."""
        used = [backend for backend in route.backends if backend.weight > 0]
        self.backends = tuple(self.targets[backend.service] for backend in used)
        self.session = SessionRule(route.session, path) if route.session is not None else None
        self._split = Split(service.name, used) if len(used) > 1 else None
        self.keys = KeyReader(policy.sticky_by) if len(used) > 1 and policy.sticky_by else None
        """What keeps a user with a backend; None: chance decides, or nothing has to."""
        self.keeps_users = self.session is not None or self.keys is not None
        self.mirrors = _mirrors(route)
        """Whether it, or a backend, has any."""
        timeout = route.request_timeout_s
        self.request_timeout_s = policy.timeouts.request_s if timeout is None else timeout
        self.retry = _retry_of(route, policy.retry)

    def backend(self, random: float) -> CompiledBackend | None:
        """Where this request goes, by weight; None when no backend takes any. `random` is in [0, 1)."""
        backends = self.backends
        if self._split is not None:
            return backends[self._split.draw(random)]
        return backends[0] if backends else None

    def backend_of(self, key: bytes) -> CompiledBackend | None:
        """Where requests with `key` go, by weight, all to the same one; None when no backend takes any."""
        backends = self.backends
        if self._split is not None:
            return backends[self._split.place(key)]
        return backends[0] if backends else None

    def matches(self, head: RequestHead) -> bool:
        """Whether all but an exact path or a prefix, which the index has matched, holds."""
        for condition in self.conditions:  # noqa: SIM110 - no generator for what most requests do not need
            if not condition.holds(head):
                return False
        return True


class CompiledService:
    """A service's routes, indexed by path.

    Each exact path and each prefix has the list of all routes whose path it matches, shorter prefixes included, in
    order of precedence: a look-up finds one list and merges nothing.
    """

    __slots__ = ("_anywhere", "_exact", "_prefixes", "default", "routes", "service")

    def __init__(self, service: Service, namespace: str = "") -> None:
        """`namespace`: of the caller."""
        self.service = service
        used = _routes_for(service, namespace)
        self.default = None if used else CompiledRoute(0, default_route(service.name), service)
        """Decides every request of a service without routes."""
        routes = tuple(CompiledRoute(order, route, service) for order, route in enumerate(used))
        self.routes = routes
        """All, in order of precedence."""
        by_prefix: dict[str, list[CompiledRoute]] = {}
        by_path: dict[str, list[CompiledRoute]] = {}
        for compiled in routes:
            path = compiled.route.match.path
            if path is not None and path.kind == "exact":
                by_path.setdefault(path.value, []).append(compiled)
            else:
                # Where an expression may match is not known: it stands among those that match anywhere.
                by_prefix.setdefault(compiled.prefix.rstrip("/"), []).append(compiled)
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
        """Raises SnapshotError."""
        self.snapshot = snapshot
        self._namespace = namespace
        self.services = {name: _compiled(service, namespace) for name, service in snapshot.services.items()}
        if snapshot.own is not None:
            _check_gates(snapshot.own)
        self._by_host = {
            host: self.services[name]
            for name in sorted(snapshot.services, reverse=True)
            for host in snapshot.services[name].hostnames
        }
        """By the names that routes give services; of a name that several have, the first in order has it."""
        self._by_authority: dict[bytes, CompiledService | None] = {}

    def find(self, authority: bytes) -> CompiledService | None:
        """The service that `authority` names, if it is in the snapshot."""
        try:
            return self._by_authority[authority]
        except KeyError:
            pass
        host = host_of(authority)
        name = service_of_host(host, self._namespace)
        # A service's own name goes before those that routes of others give: they must not draw its requests away.
        compiled = self.services.get(name) if name is not None else None
        if compiled is None:
            compiled = self._by_host.get(host)
        if len(authority) <= MAX_AUTHORITY_BYTES and len(self._by_authority) < MAX_AUTHORITIES:
            self._by_authority[authority] = compiled
        return compiled


def _compiled(service: Service, namespace: str) -> CompiledService:
    with _telling(service, "a route"):
        compiled = CompiledService(service, namespace)
    _check_gates(service)
    return compiled


def _check_gates(service: Service) -> None:
    """Limits and faults are compiled when others have been swapped: what they cannot match has to be known before."""
    with _telling(service, "a limit"):
        for limit in service.limits.limits:
            Matcher(limit.matches)
    with _telling(service, "a fault"):
        for fault in service.faults:
            Matcher(fault.matches)


@contextlib.contextmanager
def _telling(service: Service, what: str) -> Iterator[None]:
    """Raises SnapshotError. Control has checked expressions by the same rule, but control may be of another version."""
    try:
        yield
    except RegexError as error:
        raise SnapshotError(f"{what} of {service.name} has an expression that is none of RE2: {error}") from None


def _routes_for(service: Service, namespace: str) -> Sequence[Route]:
    """The routes that callers of `namespace` use: their own, if there are any (GAMMA consumer routes)."""
    own = [route for route in service.routes if route.consumers == namespace]
    return own if own and namespace else [route for route in service.routes if not route.consumers]


def default_route(service: ServiceName) -> Route:
    """To its own endpoints."""
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


def _prefix_behind(filters: Filters | None, prefix: str) -> str:
    """What a route's filters make of the prefix that its match has matched: a backend's replace that."""
    path = filters.rewrite.path if filters is not None and filters.rewrite is not None else None
    return prefix if path is None else path.value


def _mirrors(route: Route) -> bool:
    all_filters = (route.filters, *(backend.filters for backend in route.backends))
    return any(filters is not None and filters.mirrors for filters in all_filters)


def _retry_of(route: Route, policy: RetryPolicy) -> RetryPolicy:
    own: dict[str, Any] = {
        "attempts": route.retry_attempts,
        "codes": route.retry_codes,
        "per_try_s": route.per_try_timeout_s,
        "backoff_least_s": route.retry_backoff_s,
        "tells_timeout": None if route.request_timeout_s is None else route.request_timeout_s > 0.0,
    }
    given = {name: value for name, value in own.items() if value is not None}
    least = route.retry_backoff_s
    if least is not None:
        # A route's backoff is how long a retry waits at least, with jitter on top (Gateway API HTTPRouteRetry).
        given["backoff_base_s"] = 2 * least
        given["backoff_cap_s"] = max(policy.backoff_cap_s, _LONGEST_BACKOFF * least)
    return msgspec.structs.replace(policy, **given) if given else policy
