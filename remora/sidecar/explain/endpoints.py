"""The instances of a service as they are seen from here, and why some get no requests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from remora.model.snapshot import Endpoint
from remora.sidecar.admin.views import endpoint_state
from remora.sidecar.explain.numbers import count, percent, seconds
from remora.sidecar.explain.values import EndpointFacts
from remora.sidecar.policy.hashing import hash_of
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import Fields, RequestHead


def live(cluster: Cluster) -> Iterator[EndpointFacts]:
    """Of a running sidecar."""
    usable = frozenset(id(endpoint) for endpoint in cluster.usable)
    now = time.monotonic()
    scores = cluster.choice.scores(now)
    for endpoint in cluster.endpoints:
        said = endpoint.endpoint
        yield EndpointFacts(
            said.id,
            address(said),
            endpoint_state(endpoint),
            id(endpoint) in usable,
            cluster.choice.weight_of(endpoint),
            endpoint.active,
            endpoint.connections,
            scores.get(endpoint),
            said.version,
            said.zone,
            _note(endpoint, now),
        )


def static(endpoints: Iterable[Endpoint]) -> Iterator[EndpointFacts]:
    """Of a file: all that is said of them."""
    for said in endpoints:
        state = "healthy" if said.healthy else "unhealthy"
        yield EndpointFacts(
            said.id, address(said), state, said.healthy, said.weight, version=said.version, zone=said.zone
        )


def place(cluster: Cluster, head: RequestHead) -> str:
    """Where the key of `head` leads; empty: the balancer does not hash, or the request has no key."""
    made: Fields = []
    key = None if cluster.keys is None else cluster.keys.read(head, made, 0)
    picked = None if key is None or made else cluster.pick((), hash_of(key))
    return "" if picked is None else address(picked.endpoint)


def zones(cluster: Cluster) -> Iterator[str]:
    """What zones take, where they count, and where health is not believed."""
    levels = cluster.choice.levels
    for level in levels:
        where = ", ".join(sorted({endpoint.endpoint.zone or "no zone" for endpoint in level.endpoints}))
        panic = ": too few are well, so all are used (panic)" if level.panics else ""
        if len(levels) > 1:
            yield f"{where} takes {percent(level.load.share)}{panic}"
        elif panic and level.endpoints:
            yield f"too few of {count(len(level.endpoints), 'endpoint')} are well, so all are used (panic)"


def _note(endpoint: UpstreamEndpoint, now: float) -> str:
    outlier = endpoint.outlier
    if not endpoint.endpoint.healthy:
        return "it says so itself"
    if endpoint.check_fault:
        return endpoint.check_fault
    if outlier.ejected_until:
        return f"it failed; back in {seconds(max(0.0, outlier.ejected_until - now))}"
    if not endpoint.takes_attempts and endpoint.guard is not None:
        whose = "its" if endpoint.guard.endpoint else "the service's"
        return f"{whose} breaker is {endpoint.guard.state.value}; for up to {seconds(endpoint.guard.wait_s)}"
    if endpoint.passed_over_until > now:
        why = "no connection" if endpoint.is_unreachable else "it has enough requests"
        return f"{why}; others are preferred for {seconds(endpoint.passed_over_until - now)}"
    if endpoint.guard is not None and endpoint.guard.endpoint and endpoint.guard.wait_s > 0:
        return f"its breaker is open for {seconds(endpoint.guard.wait_s)}"
    if outlier.failures:
        return f"failures in a row: {outlier.failures}"
    return ""


def address(endpoint: Endpoint) -> str:
    """HOST:PORT."""
    return f"[{endpoint.address}]:{endpoint.port}" if ":" in endpoint.address else f"{endpoint.address}:{endpoint.port}"
