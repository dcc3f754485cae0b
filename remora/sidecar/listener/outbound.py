"""Outbound: what the app sends, to a service of the mesh by its routes, or past the mesh to where it was going."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Collection
from typing import Literal, Protocol

from remora.model.names import ServiceName, service_of_host, split_authority
from remora.model.policies import Caps, ServicePolicy
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.decision import Decided, Decision, Direction, Discovery, LocalAnswer, Refusal
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.fallback import Fallbacks
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.exchange.gates import Gates
from remora.sidecar.listener.affinity import Affinity, affinity_of, place_of
from remora.sidecar.listener.mirroring import mirror_targets
from remora.sidecar.routing.match import host_of
from remora.sidecar.routing.table import CompiledBackend, CompiledRoute, CompiledService, RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster, Clusters
from remora.sidecar.wire.heads import RequestHead

OutboundPolicy = Literal["allow-any", "registry-only"]

PASSTHROUGH = "passthrough"
"""The service that requests past the mesh are counted as."""

MAX_PASSTHROUGH_CLUSTERS = 256
"""Destinations past the mesh whose connections are kept; the longest unused one goes first."""

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0"))  # noqa: S104
"""Hosts that are this machine."""


class Discoverer(Protocol):
    """Asks control for services that are not in the snapshot yet."""

    def known(self, service: ServiceName) -> bool | None:
        """None: not asked yet, or no answer yet."""

    def subscribe(self, service: ServiceName) -> asyncio.Future[bool]: ...

    def touch(self, service: ServiceName) -> None: ...


class Mesh:
    """The outbound side's view of the mesh, shared by all outbound listeners: replaced by each snapshot."""

    __slots__ = (
        "_decisions",
        "backend_gates",
        "clusters",
        "discoverer",
        "fallbacks",
        "namespace",
        "own_ports",
        "passthrough",
        "policy",
        "service_gates",
        "table",
    )

    def __init__(
        self,
        table: RouteTable,
        clusters: Clusters,
        passthrough: PassthroughClusters,
        namespace: str,
        policy: OutboundPolicy,
        own_ports: Collection[int],
        service_gates: Gates,
        backend_gates: Gates,
    ) -> None:
        self.table = table
        self.clusters = clusters
        self.namespace = namespace
        self.policy: OutboundPolicy = policy
        self.own_ports = own_ports
        """Ports of this sidecar: a request past the mesh must not come back to them."""
        self.passthrough = passthrough
        self.service_gates = service_gates
        """By the service that is asked for."""
        self.backend_gates = backend_gates
        """By the service that the route chose."""
        self.fallbacks = Fallbacks(clusters, backend_gates.of)
        self.discoverer: Discoverer | None = None
        """None: there is no control to ask."""
        self._decisions: dict[CompiledBackend, Decision] = {}
        """Of the table's backends, each belonging to one route: what all requests to it have in common."""

    def use(self, table: RouteTable) -> None:
        """Decide by `table` from now on; clusters, gates and fallbacks are those of the same snapshot by now."""
        self.table = table
        self._decisions = {}

    def gates(self, service: ServiceName, backend: ServiceName) -> tuple[Gate, ...]:
        """What a request for `service` passes that goes to `backend`."""
        return self.service_gates.of(service) + self.backend_gates.of(backend)

    def decision(self, service: CompiledService, route: CompiledRoute, backend: CompiledBackend) -> Decision | None:
        """What is decided about all requests that `route` sends to `backend`, not to be changed; None: no endpoint is
        known, and no fallback."""
        decision = self._decisions.get(backend)
        if decision is None:
            decision = self._decide(service, route, backend)
            if decision is not None:
                self._decisions[backend] = decision
        return decision

    def _decide(self, service: CompiledService, route: CompiledRoute, backend: CompiledBackend) -> Decision | None:
        name = service.service.name
        fallback = self.fallbacks.of(name)
        cluster = self.clusters.get(backend.service)
        if cluster is None and fallback is None:
            return None
        decision = Decision(
            name,
            route.name,
            cluster or self.clusters.empty(backend.service),
            route.retry,
            route.request_timeout_s,
            service.service.policy.timeouts.idle_s,
            tuple(filters for filters in (route.filters, backend.filters) if filters is not None),
            self.gates(name, backend.service),
        )
        decision.fallback = fallback
        return decision


_PAST_MESH = ServicePolicy(caps=Caps(pending=0, requests=0))
"""No document says how much may go past the mesh."""


class PassthroughClusters:
    """Clusters of one address each, for destinations outside the mesh."""

    __slots__ = ("_clusters", "_metrics")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clusters: OrderedDict[tuple[str, int], Cluster] = OrderedDict()

    def get(self, host: str, port: int) -> Cluster:
        """The cluster of `host`:`port`, made when first asked for."""
        key = (host, port)
        cluster = self._clusters.get(key)
        if cluster is None:
            cluster = self._clusters[key] = Cluster(PASSTHROUGH, _PAST_MESH, self._metrics)
            cluster.update((Endpoint(f"{host}:{port}", host, port),), cluster.policy)
            if len(self._clusters) > MAX_PASSTHROUGH_CLUSTERS:
                self._clusters.popitem(last=False)[1].drain()
        else:
            self._clusters.move_to_end(key)
        return cluster

    def abort(self) -> None:
        for cluster in self._clusters.values():
            cluster.abort()


class OutboundRouter:
    """Decides requests by their authority; with `bound`, all requests are for that service."""

    __slots__ = ("_bound", "_mesh")

    direction: Direction = "outbound"

    def __init__(self, mesh: Mesh, bound: ServiceName | None = None) -> None:
        self._mesh = mesh
        self._bound = bound

    def decide(self, head: RequestHead, *, final: bool) -> Decided:
        mesh, bound = self._mesh, self._bound
        service = mesh.table.services.get(bound) if bound else mesh.table.find(head.authority)
        if service is not None:
            return _decide_in_mesh(mesh, service, head)
        name = bound or service_of_host(host_of(head.authority), mesh.namespace)
        discovery = None if final or name is None else _discover(mesh, name)
        if discovery is not None:
            return discovery
        if bound:
            return Refusal(failures.NO_ENDPOINT, failures.NO_ENDPOINT.sentence.format(service=bound), bound)
        return _decide_past_mesh(mesh, head)


def _decide_in_mesh(mesh: Mesh, service: CompiledService, head: RequestHead) -> Decided:
    name = service.service.name
    if mesh.discoverer is not None:
        mesh.discoverer.touch(name)
    route = service.route(head)
    if route is None and head.method == b"CONNECT":
        return _decide_unrouted(mesh, service, head)
    if route is None:
        method, path = head.method.decode("latin-1"), head.path.partition(b"?")[0].decode("latin-1")
        return _refusal(failures.NO_ROUTE, name, service=name, method=method, path=path)
    origin = b""
    if route.filters is not None:
        answer = route.filters.answer(head)
        if answer is not None:
            return LocalAnswer(*answer, name, route.name)
        origin = route.filters.origin(head)
    affinity = affinity_of(route, head, mesh.clusters) if route.keeps_users else None
    backend = route.backend(random.random()) if affinity is None else affinity.backend
    if backend is None:
        return _refusal(failures.NO_BACKEND, name, service=name, route=route.name)
    decision = mesh.decision(service, route, backend)
    if decision is None:
        return _refusal(failures.NO_ENDPOINT, name, service=backend.service)
    if affinity is None and decision.cluster.keys is None and not route.mirrors and not origin:
        return decision
    decision = decision.copy()
    decision.origin = origin
    _make_its_own(decision, route, head, affinity, mesh.clusters)
    return decision


def _make_its_own(
    decision: Decision, route: CompiledRoute, head: RequestHead, affinity: Affinity | None, clusters: Clusters
) -> None:
    """Add what is of this request alone."""
    if affinity is not None:
        affinity.apply(decision)
    keys = decision.cluster.keys
    if keys is not None:
        decision.key = place_of(decision, keys, head, 0 if affinity is None else affinity.bits)
    if route.mirrors:
        decision.mirrors = mirror_targets(decision.filters, clusters)


def _decide_unrouted(mesh: Mesh, service: CompiledService, head: RequestHead) -> Decided:
    """Bytes have no path and no fields: what no rule without such matches takes goes to the service itself."""
    name, policy = service.service.name, service.service.policy
    cluster = mesh.clusters.get(name)
    if cluster is None:
        return _refusal(failures.NO_ENDPOINT, name, service=name)
    gates = mesh.gates(name, name)
    timeouts = policy.timeouts
    decision = Decision(name, "default", cluster, policy.retry, timeouts.request_s, timeouts.idle_s, (), gates)
    if cluster.keys is not None:
        decision.key = place_of(decision, cluster.keys, head)
    return decision


def _discover(mesh: Mesh, name: ServiceName) -> Discovery | None:
    discoverer = mesh.discoverer
    if discoverer is None or discoverer.known(name) is not None:
        return None
    return Discovery(discoverer.subscribe(name))


def _decide_past_mesh(mesh: Mesh, head: RequestHead) -> Decided:
    authority = head.authority.decode("latin-1")
    if mesh.policy == "registry-only":
        return _refusal(failures.NOT_IN_REGISTRY, authority, authority=authority)
    try:
        host, port = split_authority(authority)
    except ValueError:
        return _refusal(failures.BAD_AUTHORITY, authority, authority=authority)
    if not host:
        return _refusal(failures.BAD_AUTHORITY, authority, authority=authority)
    port = port or 80
    if port in mesh.own_ports and host in LOOPBACK:
        return _refusal(failures.LOOP, authority, authority=authority)
    cluster = mesh.passthrough.get(host, port)
    policy = cluster.policy
    return Decision(PASSTHROUGH, PASSTHROUGH, cluster, policy.retry, policy.timeouts.request_s, policy.timeouts.idle_s)


def _refusal(failure: Failure, asked_for: str, **details: object) -> Refusal:
    # An authority is the client's word: it must not make a series of metrics.
    service = asked_for if "service" in details else PASSTHROUGH
    return Refusal(failure, failure.sentence.format(**details), service)
