"""What is told of a service's instances."""

from __future__ import annotations

from remora.model.policies import Balancer, HashKey, ServicePolicy, SlowStart
from remora.model.snapshot import Endpoint
from remora.sidecar.explain.endpoints import live, place
from remora.sidecar.policy.hashing import hash_of
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import RequestHead

THREE = [Endpoint(name, "10.0.0.1", 1000 + index) for index, name in enumerate("xyz")]


def cluster(balancer: Balancer) -> Cluster:
    policy = ServicePolicy(balancer=balancer)
    made = Cluster("shop.default", policy, Metrics())
    made.update(THREE[:2], policy)
    made.update(THREE, policy)
    return made


def head(**fields: str) -> RequestHead:
    return RequestHead(b"GET", b"/", b"shop", [(name.encode(), value.encode()) for name, value in fields.items()])


async def test_where_a_key_leads_is_told_and_nothing_where_there_is_none() -> None:
    keys = (HashKey("header", "user"), HashKey("cookie", "place", ttl_s=60.0))
    ring = cluster(Balancer("ring_hash", hash_on=keys))
    picked = ring.pick((), hash_of(b"alice"))
    assert picked is not None
    assert place(ring, head(user="alice")) == f"10.0.0.1:{picked.endpoint.port}"
    assert place(ring, head()) == ""
    assert place(cluster(Balancer()), head(user="alice")) == ""


async def test_weights_in_slow_start_are_told_as_what_they_are_of_the_whole() -> None:
    eased = cluster(Balancer(slow_start=SlowStart(60.0, 0.1)))
    told = list(live(eased))
    assert [facts.weight for facts in told] == [1.0, 1.0, 0.1]
    assert [facts.score for facts in told] == [0.0, 0.0, 0.0]
    eased.abort()
