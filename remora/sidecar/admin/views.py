"""What pages show of clusters and workers, as values: they may come from another process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

EndpointState = Literal["healthy", "unhealthy", "ejected", "unreachable"]
"""`unhealthy`: it says so itself. `ejected`: it failed too often. `unreachable`: the last connect failed."""


class Share(msgspec.Struct, frozen=True):
    """What one worker has to do with an endpoint."""

    worker: int
    state: EndpointState
    active: int
    connections: int


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint, how it is, requests in flight and open connections."""

    endpoint: Endpoint
    state: EndpointState
    active: int
    connections: int
    shares: tuple[Share, ...] = ()
    """By worker, where there are workers."""


class ClusterView(msgspec.Struct, frozen=True):
    """A cluster. `inbound`: the app beside us, which is no service of the mesh to us."""

    name: str
    balancer: str
    endpoints: tuple[EndpointView, ...]
    inbound: bool = False
    limit: int = 0
    """Inbound: how many requests adaptive concurrency lets be in flight; 0: it is off."""
    in_flight: int = 0
    """Inbound, with a limit: how many are."""


class WorkerView(msgspec.Struct, frozen=True):
    """A worker. `since` is Unix time in seconds: when `state` was entered."""

    worker: int
    pid: int
    state: Literal["starting", "up", "silent", "ended"]
    """`silent`: it runs, but does not answer."""
    since: float
    restarts: int
    last_end: str
    """How the one before it ended; empty for the first."""
    requests: int
    """Live ones."""
    connections: dict[str, int]
    """Open downstream connections by listener."""


def cluster_views(
    app: Cluster | None, clusters: Iterable[Cluster], app_limit: ConcurrencyGate | None = None
) -> list[ClusterView]:
    """How the app beside us and the services in use are now, in this process."""
    inbound = [] if app is None else [_cluster_view(app, inbound=True)]
    if app_limit is not None:
        inbound = [
            msgspec.structs.replace(view, limit=app_limit.limit, in_flight=app_limit.in_flight) for view in inbound
        ]
    return [*inbound, *(_cluster_view(cluster) for cluster in clusters)]


def _cluster_view(cluster: Cluster, *, inbound: bool = False) -> ClusterView:
    endpoints = tuple(
        EndpointView(endpoint.endpoint, endpoint_state(endpoint), endpoint.active, endpoint.connections)
        for endpoint in cluster.endpoints
    )
    return ClusterView(cluster.name, cluster.policy.balancer.kind, endpoints, inbound)


def endpoint_state(endpoint: UpstreamEndpoint) -> EndpointState:
    """How it is, as far as is known here."""
    if not endpoint.endpoint.healthy:
        return "unhealthy"
    if endpoint.outlier.ejected_until:
        return "ejected"
    return "unreachable" if endpoint.unreachable_until else "healthy"
