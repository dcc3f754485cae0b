"""What pages show of clusters and workers, as values: they may come from another process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from remora.model.policies import Caps
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate
from remora.sidecar.policy.breaker import BreakerState
from remora.sidecar.upstream.choice import Level
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

EndpointState = Literal["healthy", "unreachable", "half-open", "open", "ejected", "check-failed", "unhealthy"]
"""From well to not at all. `unreachable`: the last connect failed. `half-open`, `open`: its breaker. `ejected`: it
failed too often. `check-failed`: its health check fails. `unhealthy`: it says so itself."""


BREAKER_STATES = ("", "closed", "half-open", "open")
"""From none to the one that lets nothing through; their places are the values of mesh_breaker_state, from 0 on."""


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
    breaker: str = ""
    """The state of its own breaker; empty: it has none."""
    check_fault: str = ""
    """What its health checks say is wrong."""
    share: float = 0.0
    """The part of the cluster's requests that it gets by zone, health and weight, slow start included, while all are
    idle. Where there are workers, their mean."""
    score: float | None = None
    """What the balancer compares, the lower the better: requests in flight by weight, or the cost of peak EWMA in
    seconds. None: it compares nothing."""
    latency_s: float | None = None
    """Peak EWMA's; 0: not known yet. None: nobody measures it."""


class RoomView(msgspec.Struct, frozen=True):
    """What a cluster takes of the sidecar, and may take (0: no limit)."""

    connections: int = 0
    pending: int = 0
    requests: int = 0
    limits: Caps = Caps()


class LevelView(msgspec.Struct, frozen=True):
    """Endpoints that are equally near, and the part of the requests that they get."""

    zones: tuple[str, ...]
    share: float
    endpoints: int
    usable: int
    panic: bool
    """Too few are usable: health is not believed, all are used."""


class ClusterView(msgspec.Struct, frozen=True):
    """A cluster. `inbound`: the app beside us, which is no service of the mesh to us. `breaker` is the state of the one
    of the whole cluster; empty: it has none."""

    name: str
    balancer: str
    endpoints: tuple[EndpointView, ...]
    inbound: bool = False
    limit: int = 0
    """Inbound: how many requests adaptive concurrency lets be in flight; 0: it is off."""
    in_flight: int = 0
    """Inbound, with a limit: how many are."""
    breaker: str = ""
    room: RoomView = RoomView()
    levels: tuple[LevelView, ...] = ()
    """The nearest first. Where there are workers: as one of them sees it."""


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
    now = time.monotonic()
    shares = cluster.choice.shares()
    scores = cluster.choice.scores(now)
    endpoints = tuple(
        EndpointView(
            endpoint.endpoint,
            endpoint_state(endpoint),
            endpoint.active,
            endpoint.connections,
            breaker="" if endpoint.own_breaker is None else endpoint.own_breaker.value,
            check_fault=endpoint.check_fault,
            share=shares.get(endpoint, 0.0),
            score=scores.get(endpoint),
            latency_s=None if endpoint.ewma is None else endpoint.ewma.latency_s(now),
        )
        for endpoint in cluster.endpoints
    )
    breaker, traffic, room = cluster.breakers.state, cluster.traffic, cluster.traffic.room
    return ClusterView(
        cluster.name,
        cluster.policy.balancer.kind,
        endpoints,
        inbound,
        breaker="" if breaker is None else breaker.value,
        levels=tuple(map(_level_view, cluster.choice.levels)),
        room=RoomView(room.connections, room.waiting, traffic.active, cluster.policy.caps),
    )


def _level_view(level: Level) -> LevelView:
    zones = sorted({endpoint.endpoint.zone for endpoint in level.endpoints})
    return LevelView(tuple(zones), level.load.share, len(level.endpoints), len(level.well), level.panics)


def endpoint_state(endpoint: UpstreamEndpoint) -> EndpointState:
    """How it is, as far as is known here."""
    if not endpoint.endpoint.healthy:
        return "unhealthy"
    if endpoint.check_fault:
        return "check-failed"
    if endpoint.outlier.ejected_until:
        return "ejected"
    guard = endpoint.guard
    if guard is not None and guard.endpoint and not guard.config.shadow and guard.state is not BreakerState.CLOSED:
        return "open" if guard.state is BreakerState.OPEN else "half-open"
    return "unreachable" if endpoint.is_unreachable else "healthy"
