"""The clusters of all workers as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from remora.sidecar.admin.views import ClusterView, EndpointState, EndpointView, Share


def merge_clusters(by_worker: Mapping[int, Sequence[ClusterView]]) -> list[ClusterView]:
    """Requests and connections of an endpoint are added up. One worker that cannot reach it makes it unreachable."""
    found: dict[tuple[str, bool], dict[str, list[tuple[int, EndpointView]]]] = {}
    balancers: dict[str, str] = {}
    limits: Counter[tuple[str, bool]] = Counter()
    in_flight: Counter[tuple[str, bool]] = Counter()
    for worker, clusters in by_worker.items():
        for cluster in clusters:
            balancers[cluster.name] = cluster.balancer
            limits[cluster.name, cluster.inbound] += cluster.limit
            in_flight[cluster.name, cluster.inbound] += cluster.in_flight
            endpoints = found.setdefault((cluster.name, cluster.inbound), {})
            for endpoint in cluster.endpoints:
                endpoints.setdefault(endpoint.endpoint.id, []).append((worker, endpoint))
    return [
        ClusterView(
            key[0],
            balancers[key[0]],
            tuple(map(_merge_endpoint, endpoints.values())),
            key[1],
            limits[key],
            in_flight[key],
        )
        for key, endpoints in found.items()
    ]


def _merge_endpoint(seen: Sequence[tuple[int, EndpointView]]) -> EndpointView:
    shares = tuple(Share(worker, view.state, view.active, view.connections) for worker, view in seen)
    return EndpointView(
        seen[-1][1].endpoint,
        _worst(share.state for share in shares),
        sum(share.active for share in shares),
        sum(share.connections for share in shares),
        shares,
    )


def _worst(states: Iterable[EndpointState]) -> EndpointState:
    order: tuple[EndpointState, ...] = ("healthy", "unreachable", "ejected", "unhealthy")
    return max(states, key=order.index)
