"""The clusters of all workers as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from remora.sidecar.admin.views import (
    BREAKER_STATES,
    ClusterView,
    EndpointState,
    EndpointView,
    RoomView,
    Share,
)


def merge_clusters(by_worker: Mapping[int, Sequence[ClusterView]]) -> list[ClusterView]:
    """Requests and connections are added up. The worst state of an endpoint, and of a breaker, that a worker sees is
    shown. Limits are those of each worker."""
    found: dict[tuple[str, bool], list[tuple[int, ClusterView]]] = {}
    for worker, clusters in by_worker.items():
        for cluster in clusters:
            found.setdefault((cluster.name, cluster.inbound), []).append((worker, cluster))
    return [_merge_cluster(seen) for seen in found.values()]


def _merge_cluster(seen: Sequence[tuple[int, ClusterView]]) -> ClusterView:
    endpoints: dict[str, list[tuple[int, EndpointView]]] = {}
    for worker, cluster in seen:
        for endpoint in cluster.endpoints:
            endpoints.setdefault(endpoint.endpoint.id, []).append((worker, endpoint))
    rooms = [cluster.room for _, cluster in seen]
    newest = seen[-1][1]
    return ClusterView(
        newest.name,
        newest.balancer,
        tuple(map(_merge_endpoint, endpoints.values())),
        newest.inbound,
        sum(cluster.limit for _, cluster in seen),
        sum(cluster.in_flight for _, cluster in seen),
        max((cluster.breaker for _, cluster in seen), key=BREAKER_STATES.index),
        RoomView(
            sum(room.connections for room in rooms),
            sum(room.pending for room in rooms),
            sum(room.requests for room in rooms),
            newest.room.limits,
        ),
        newest.levels,
    )


def _merge_endpoint(seen: Sequence[tuple[int, EndpointView]]) -> EndpointView:
    shares = tuple(Share(worker, view.state, view.active, view.connections) for worker, view in seen)
    return EndpointView(
        seen[-1][1].endpoint,
        _worst(share.state for share in shares),
        sum(share.active for share in shares),
        sum(share.connections for share in shares),
        shares,
        max((view.breaker for _, view in seen), key=BREAKER_STATES.index),
        max(view.check_fault for _, view in seen),
        sum(view.share for _, view in seen) / len(seen),
        _highest(view.score for _, view in seen),
        _highest(view.latency_s for _, view in seen),
    )


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _worst(states: Iterable[EndpointState]) -> EndpointState:
    return max(states, key=get_args(EndpointState).index)
