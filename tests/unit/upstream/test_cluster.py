"""Which endpoint of a cluster gets an attempt."""

from __future__ import annotations

import asyncio
import time

from remora.model.base import Origin
from remora.model.names import service_name
from remora.model.policies import Balancer, Fallback, ServicePolicy, Timeouts
from remora.model.routes import Backend, Route, RouteMatch
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.admin.views import endpoint_state
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster, Clusters
from remora.sidecar.upstream.endpoint import (
    BUSY_S,
    CONNECT_BACKOFF_BASE_S,
    CONNECT_BACKOFF_CAP_S,
    Traffic,
    UpstreamEndpoint,
)
from remora.sidecar.wire.stream import ClientConnection
from tests.support.backend import running_raw_server
from tests.support.waiting import until


def endpoint(name: str, **fields: object) -> Endpoint:
    return Endpoint(name, "127.0.0.1", 1000 + ord(name), **fields)  # type: ignore[arg-type]


def cluster(*endpoints: Endpoint) -> Cluster:
    made = Cluster("shop.default", ServicePolicy(balancer=Balancer("round_robin")), Metrics())
    made.update(endpoints, made.policy)
    return made


async def told(found: Cluster, name: str, fault: str) -> None:
    """A check has found this."""
    found.check(name, fault)
    await asyncio.sleep(0)


def picks(found: Cluster, count: int = 30) -> set[str]:
    return {picked.endpoint.id for picked in (found.pick() for _ in range(count)) if picked is not None}


def test_an_empty_cluster_has_nothing_to_pick() -> None:
    assert cluster().pick() is None


def test_unhealthy_endpoints_get_nothing_while_half_are_well() -> None:
    assert picks(cluster(endpoint("a"), endpoint("b", healthy=False))) == {"a"}


def test_below_half_health_is_not_believed() -> None:
    found = cluster(endpoint("a"), endpoint("b", healthy=False), endpoint("c", healthy=False))
    assert picks(found) == {"a", "b", "c"}
    assert picks(cluster(endpoint("a", healthy=False))) == {"a"}


def test_a_retry_goes_elsewhere_if_there_is_elsewhere() -> None:
    found = cluster(endpoint("a"), endpoint("b"))
    a, b = found.endpoints
    assert {found.pick((a,)) for _ in range(10)} == {b}
    assert found.pick((a, b)) in (a, b)


def test_what_could_not_be_connected_to_is_passed_over_for_a_while() -> None:
    found = cluster(endpoint("a"), endpoint("b"))
    found.endpoints[0].passed_over_until = time.monotonic() + 60
    assert picks(found) == {"b"}
    found.endpoints[0].passed_over_until = time.monotonic() - 1
    assert picks(found) == {"a", "b"}
    for one in found.endpoints:
        one.passed_over_until = time.monotonic() + 60
    assert picks(found) == {"a", "b"}


def test_endpoints_that_stay_keep_their_state() -> None:
    found = cluster(endpoint("a"), endpoint("b"))
    before = found.endpoints[0]
    before.active = 3
    found.update((endpoint("a", weight=5), endpoint("c")), found.policy)
    assert found.endpoints[0] is before
    assert (before.active, before.weight) == (3, 5)
    assert picks(found) == {"a", "c"}


def test_a_new_address_is_a_new_endpoint() -> None:
    found = cluster(endpoint("a"))
    before = found.endpoints[0]
    found.update((Endpoint("a", "127.0.0.1", 9),), found.policy)
    assert found.endpoints[0] is not before


async def test_what_a_check_has_found_outlives_another_protocol_at_the_same_place() -> None:
    """The check tells only what has changed."""
    found = cluster(endpoint("a"), endpoint("b"), endpoint("c"))
    await told(found, "a", "It answered 503.")
    assert picks(found) == {"b", "c"}
    found.update((endpoint("a", protocol="h2"), endpoint("b"), endpoint("c")), found.policy)
    assert picks(found) == {"b", "c"}
    await told(found, "a", "")
    assert picks(found) == {"a", "b", "c"}
    await told(found, "a", "It answered 503.")
    found.update((Endpoint("a", "127.0.0.1", 9), endpoint("b"), endpoint("c")), found.policy)
    assert picks(found) == {"a", "b", "c"}


async def test_many_checks_at_once_make_one_choice() -> None:
    found = cluster(*(endpoint(name) for name in "abcd"))
    before = found.choice
    found.check("a", "It answered 503.")
    found.check("b", "It answered 503.")
    assert found.choice is before
    await asyncio.sleep(0)
    assert picks(found) == {"c", "d"}
    before = found.choice
    await asyncio.sleep(0)
    assert found.choice is before
    found.check("a", "")
    found.update((endpoint("a"), endpoint("b"), endpoint("c")), found.policy)
    before = found.choice
    assert picks(found) == {"a", "c"}
    await asyncio.sleep(0)
    assert found.choice is before
    found.check("a", "It answered 503.")
    found.abort()
    await asyncio.sleep(0)
    assert found.choice is before


async def test_connections_to_those_that_are_gone_are_closed() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with running_raw_server(serve) as port:
        found = cluster(Endpoint("a", "127.0.0.1", port), endpoint("b"))
        pool = found.endpoints[0].pool("http1")
        pool.wait(GivesBack())
        await until(lambda: pool.take() is not None)
        found.update((endpoint("b"),), found.policy)
        async with asyncio.timeout(10):
            await closed.wait()


class GivesBack:
    """Wants a connection and does not use it."""

    def on_connection(self, connection: ClientConnection) -> None:
        pass

    def on_connect_failure(self, reason: str) -> None:
        raise AssertionError(reason)


def test_what_all_endpoints_say_that_they_speak_is_known() -> None:
    found = cluster(endpoint("a", protocol="h2"), endpoint("b", protocol="h2"))
    assert found.declared == "h2"
    found.update((endpoint("a", protocol="h2"), endpoint("b")), found.policy)
    assert found.declared == "auto"


async def test_one_that_has_enough_requests_is_passed_over_for_a_moment() -> None:
    found = cluster(endpoint("a"), endpoint("b"))
    a, b = found.endpoints
    a.on_busy()
    assert {found.pick() for _ in range(20)} == {b}
    assert a.passed_over_until - time.monotonic() <= BUSY_S
    assert endpoint_state(a) == "healthy"
    a.passed_over_until = time.monotonic() + 60
    a.on_busy()
    assert a.passed_over_until - time.monotonic() > 1, "what is longer stays"
    b.on_busy()
    assert {found.pick() for _ in range(40)} == {a, b}, "all have enough, and one has to say so"


async def test_sessions_find_their_endpoint_while_it_is_well() -> None:
    found = cluster(endpoint("a"), endpoint("b"))
    a = found.endpoints[0]
    assert found.find_well("a") is a
    assert found.find_well("c") is None
    a.on_busy()
    assert found.find_well("a") is a
    a._on_connect(False)
    assert found.find_well("a") is None
    a._on_connect(True)
    found.check("a", "It answered 503.")
    assert found.find_well("a") is None
    found.update((endpoint("b"),), found.policy)
    found.check("a", "")
    assert found.find_well("a") is None


def test_a_version_has_the_policy_of_the_service_that_routes_to_it() -> None:
    shop, canary = service_name("shop"), service_name("shop-v2")
    policy = ServicePolicy(balancer=Balancer("random"), origin=Origin("TrafficPolicy", "default", "shop"))
    split = Route("r", Origin("HTTPRoute", "default", "shop"), RouteMatch(), (Backend(canary),))
    endpoint_sets = {name: EndpointSet(name, (endpoint("a"),)) for name in (shop, canary)}
    clusters = Clusters(Metrics())
    clusters.update(Snapshot(1, {shop: Service(shop, (split,), policy)}, endpoint_sets))
    found = clusters.get(canary)
    assert found is not None
    assert found.policy.balancer.kind == "random"
    clusters.update(Snapshot(2, {}, {shop: endpoint_sets[shop]}))
    assert clusters.get(canary) is None


def test_who_is_fallen_back_to_has_the_policy_of_who_falls_back() -> None:
    shop, archive = service_name("shop"), service_name("archive")
    policy = ServicePolicy(
        balancer=Balancer("random"),
        fallback=Fallback(service=archive),
        origin=Origin("TrafficPolicy", "default", "shop"),
    )
    endpoint_sets = {name: EndpointSet(name, (endpoint("a"),)) for name in (shop, archive)}
    clusters = Clusters(Metrics())
    clusters.update(Snapshot(1, {shop: Service(shop, (), policy)}, endpoint_sets))
    found = clusters.get(archive)
    assert found is not None
    assert found.policy.balancer.kind == "random"


def test_a_connection_ends_the_backoff() -> None:
    away = UpstreamEndpoint(endpoint("a"), Timeouts(), Traffic(lambda _: None))
    for _ in range(5):
        away._on_connect(False)
    assert away.passed_over_until - time.monotonic() > 4.0
    away._on_connect(True)
    assert away.passed_over_until == 0.0
    away._on_connect(False)
    assert away.passed_over_until - time.monotonic() <= CONNECT_BACKOFF_BASE_S


def test_an_endpoint_that_stays_away_for_long_is_tried_again_at_times() -> None:
    away = UpstreamEndpoint(endpoint("a"), Timeouts(), Traffic(lambda _: None))
    for _ in range(1100):  # from 1024 on 2**n is no float any more
        away._on_connect(False)
    assert 0 < away.passed_over_until - time.monotonic() <= CONNECT_BACKOFF_CAP_S
