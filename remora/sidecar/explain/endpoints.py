"""The instances of a service as they are seen from here, and why some get no requests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from remora.model.snapshot import Endpoint
from remora.sidecar.admin.views import endpoint_state
from remora.sidecar.explain.numbers import count, percent, seconds
from remora.sidecar.explain.values import EndpointFacts
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint


def live(cluster: Cluster) -> Iterator[EndpointFacts]:
    """Of a running sidecar."""
    usable = frozenset(id(endpoint) for endpoint in cluster.usable)
    now = time.monotonic()
    for endpoint in cluster.endpoints:
        said = endpoint.endpoint
        yield EndpointFacts(
            said.id,
            _address(said),
            endpoint_state(endpoint),
            id(endpoint) in usable,
            endpoint.weight,
            endpoint.active,
            endpoint.connections,
            score(cluster, endpoint),
            said.version,
            said.zone,
            _note(endpoint, now),
        )


def static(endpoints: Iterable[Endpoint]) -> Iterator[EndpointFacts]:
    """Of a file: all that is said of them."""
    for said in endpoints:
        state = "healthy" if said.healthy else "unhealthy"
        yield EndpointFacts(
            said.id, _address(said), state, said.healthy, said.weight, version=said.version, zone=said.zone
        )


def score(cluster: Cluster, endpoint: UpstreamEndpoint) -> float | None:
    """By which the balancer compares; lower is better. None: it compares nothing."""
    if endpoint.ewma is not None:
        return endpoint.ewma.cost(time.monotonic(), endpoint.active) / endpoint.weight
    if cluster.policy.balancer.kind == "least_request":
        return (endpoint.active + 1) / endpoint.weight
    return None


def zones(cluster: Cluster) -> Iterator[str]:
    """What zones take, where they count, and where health is not believed."""
    levels = cluster.choice.levels
    for level in levels:
        where = ", ".join(sorted({endpoint.endpoint.zone or "no zone" for endpoint in level.endpoints}))
        panic = ": too few are well, so all are used (panic)" if level.load.panic else ""
        if len(levels) > 1:
            yield f"{where} takes {percent(level.load.share)}{panic}"
        elif panic and level.endpoints:
            yield f"too few of {count(len(level.endpoints), 'endpoint')} are well, so all are used (panic)"


def _note(endpoint: UpstreamEndpoint, now: float) -> str:
    outlier = endpoint.outlier
    if not endpoint.endpoint.healthy:
        return "it says so itself"
    if outlier.ejected_until:
        return f"it failed; back in {seconds(max(0.0, outlier.ejected_until - now))}"
    if endpoint.unreachable_until > now:
        return f"no connection; others are preferred for {seconds(endpoint.unreachable_until - now)}"
    if outlier.failures:
        return f"failures in a row: {outlier.failures}"
    return ""


def _address(endpoint: Endpoint) -> str:
    return f"[{endpoint.address}]:{endpoint.port}" if ":" in endpoint.address else f"{endpoint.address}:{endpoint.port}"
