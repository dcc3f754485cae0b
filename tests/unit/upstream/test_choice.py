"""What a cluster chooses from: zones, weights, keys."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec
import pytest

from remora.model.policies import Balancer, Breaker, HashKey, Locality, Outlier, ServicePolicy, SlowStart
from remora.model.snapshot import Endpoint
from remora.sidecar.policy.hashing import hash_of
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

ZONES = Locality(("b",))
RING = Balancer("ring_hash", hash_on=(HashKey("header", "x-user"),))
KEYS = [hash_of(b"user-%d" % number) for number in range(200)]


def endpoints(**zones: str) -> list[Endpoint]:
    return [Endpoint(name, "10.0.0.1", 1000 + index, zone=zone) for index, (name, zone) in enumerate(zones.items())]


def cluster(found: list[Endpoint], policy: ServicePolicy, zone: str = "a") -> Cluster:
    made = Cluster("shop.default", policy, Metrics(), zone)
    made.update(found, policy)
    return made


def picks(found: Cluster, count: int = 200) -> Counter[str]:
    return Counter(picked.endpoint.id for picked in (found.pick() for _ in range(count)) if picked is not None)


def by_id(found: Cluster, name: str) -> UpstreamEndpoint:
    return next(endpoint for endpoint in found.endpoints if endpoint.endpoint.id == name)


def fail(endpoint: UpstreamEndpoint) -> None:
    """An attempt there fails."""
    endpoint.end(endpoint.begin(), Outcome.FAILED)


async def test_who_has_no_zone_uses_all_alike() -> None:
    found = cluster(endpoints(x="", y="b", z="c"), ServicePolicy(locality=ZONES), "")
    assert set(picks(found)) == {"x", "y", "z"}


async def test_an_ejection_in_the_zone_spills_over_to_the_next() -> None:
    outlier = Outlier(consecutive=1, max_share=1.0)
    found = cluster(endpoints(x="a", y="a", z="b", w="c"), ServicePolicy(locality=ZONES, outlier=outlier))
    assert set(picks(found)) == {"x", "y"}
    fail(by_id(found, "x"))
    assert set(picks(found)) == {"y", "z"}
    assert found.choice.shares()[by_id(found, "z")] == pytest.approx(0.3)
    found.abort()


async def test_an_open_breaker_in_the_zone_spills_over_too() -> None:
    breaker = Breaker("consecutive", per_endpoint=True, failures=1)
    policy = ServicePolicy(locality=ZONES, breaker=breaker, outlier=Outlier(consecutive=0))
    found = cluster(endpoints(x="a", y="a", z="b", w="c"), policy)
    fail(by_id(found, "x"))
    assert set(picks(found)) == {"y", "z"}
    found.abort()


async def test_a_retry_leaves_the_zone_only_when_there_is_nobody_left_in_it() -> None:
    found = cluster(endpoints(x="a", y="a", z="b", w="c"), ServicePolicy(locality=ZONES))
    x, y, z = (by_id(found, name) for name in "xyz")
    assert {found.pick((x,)) for _ in range(20)} == {y}
    assert {found.pick((x, y)) for _ in range(20)} == {z}
    x.passed_over_until = y.passed_over_until = time.monotonic() + 60
    assert {found.pick() for _ in range(20)} == {z}


async def test_the_first_endpoints_are_not_new_those_that_come_later_are() -> None:
    policy = ServicePolicy(balancer=Balancer("random", slow_start=SlowStart(60.0, 0.1)))
    found = cluster(endpoints(x="", y=""), policy, "")
    assert [endpoint.weight for endpoint in found.endpoints] == [1, 1]
    found.update(endpoints(x="", y="", z=""), policy)
    assert [endpoint.weight for endpoint in found.endpoints] == [100, 100, 10]
    assert 30 < picks(found, 1000)["z"] < 65 + 5
    found.update(endpoints(x="", y="", z=""), ServicePolicy())
    assert [endpoint.weight for endpoint in found.endpoints] == [1, 1, 1]
    found.abort()


async def test_who_is_not_well_keeps_no_slow_start_going() -> None:
    policy = ServicePolicy(balancer=Balancer("random", slow_start=SlowStart(60.0)))
    found = cluster([*endpoints(x="", y=""), Endpoint("z", "10.0.0.1", 9, healthy=False)], policy)
    assert not found.choice.easing
    assert [endpoint.weight for endpoint in found.endpoints] == [1, 1, 1]
    found.update([*endpoints(x="", y=""), Endpoint("z", "10.0.0.1", 9)], policy)
    assert found.choice.easing
    assert [endpoint.weight for endpoint in found.endpoints] == [100, 100, 10]
    found.abort()


async def test_a_breaker_of_all_is_no_panic() -> None:
    policy = ServicePolicy(breaker=Breaker("consecutive", failures=1), outlier=Outlier(consecutive=0))
    found = cluster(endpoints(x="", y=""), policy)
    fail(by_id(found, "x"))
    assert found.is_shut
    assert not found.choice.levels[0].panics
    found.abort()


async def test_in_panic_those_are_used_that_do_not_seem_well_but_for_open_breakers() -> None:
    breaker = Breaker("consecutive", per_endpoint=True, failures=1)
    policy = ServicePolicy(breaker=breaker, outlier=Outlier(consecutive=0))
    found = cluster(endpoints(x="", y="", z="", w=""), policy)
    fail(by_id(found, "x"))
    found.check("y", "It answered 503.")
    await asyncio.sleep(0)
    assert not found.choice.levels[0].panics
    found.check("z", "It answered 503.")
    await asyncio.sleep(0)
    assert found.choice.levels[0].panics
    assert set(picks(found)) == {"y", "z", "w"}
    found.abort()


async def test_a_key_stays_while_others_are_passed_over() -> None:
    found = cluster(endpoints(x="", y="", z=""), ServicePolicy(balancer=RING))
    before = {key: found.pick((), key) for key in KEYS}
    x = by_id(found, "x")
    x.passed_over_until = time.monotonic() + 60
    after = {key: found.pick((), key) for key in KEYS}
    assert all(after[key] is picked for key, picked in before.items() if picked is not x)
    assert x not in after.values()
    # So does a retry: the next on the key's way is the same for all.
    assert {key: found.pick((x,), key) for key in KEYS} == after
    assert found.pick(found.endpoints, KEYS[0]) in found.endpoints
    assert len({found.pick() for _ in range(100)}) == 2


async def test_a_ring_is_made_anew_only_when_who_is_on_it_changes() -> None:
    policy = ServicePolicy(balancer=RING, outlier=Outlier(consecutive=1))
    found = cluster(endpoints(x="", y="", z=""), policy)
    (ring,) = found.choice.tables.values()
    before = {key: found.pick((), key) for key in KEYS}

    # What goes and comes back moves nobody else, and costs nothing.
    x = by_id(found, "x")
    fail(x)
    assert x.outlier.ejected_until
    after = {key: found.pick((), key) for key in KEYS}
    assert all(after[key] is picked for key, picked in before.items() if picked is not x)
    assert x not in after.values()
    assert found.usable == [by_id(found, "y"), by_id(found, "z")]
    assert list(found.choice.tables.values()) == [ring]

    found.update(
        [Endpoint("x", "10.0.0.1", 1000, version="v2"), *endpoints(x="", y="", z="")[1:]],
        msgspec.structs.replace(policy, outlier=Outlier(consecutive=0)),
    )
    assert {key: found.pick((), key) for key in KEYS} == before
    assert list(found.choice.tables.values()) == [ring]
    found.update(endpoints(x="", y=""), policy)
    assert list(found.choice.tables.values()) != [ring]
    found.abort()


async def test_the_ring_of_a_zone_that_is_not_used_is_kept_not_made() -> None:
    policy = ServicePolicy(balancer=RING, locality=Locality(), outlier=Outlier(consecutive=1, max_share=1.0))
    found = cluster(endpoints(x="a", y="b"), policy)
    assert len(found.choice.tables) == 1
    fail(by_id(found, "x"))
    tables = list(found.choice.tables.values())
    assert len(tables) == 2
    found.update(endpoints(x="a", y="b"), msgspec.structs.replace(policy, outlier=Outlier(consecutive=0)))
    assert found.usable == [by_id(found, "x")]
    assert list(found.choice.tables.values()) == tables
    found.abort()


async def test_in_panic_keys_stay_where_they_are() -> None:
    found = cluster(endpoints(x="", y="", z=""), ServicePolicy(balancer=RING))
    before = {key: found.pick((), key) for key in KEYS}
    for name in "xy":
        found.check(name, "It answered 503.")
    await asyncio.sleep(0)
    assert found.choice.levels[0].panics
    assert {key: found.pick((), key) for key in KEYS} == before


async def test_a_hot_key_is_spread_by_the_requests_in_flight() -> None:
    ring = msgspec.structs.replace(RING, bounded_load=1.25)
    found = cluster(endpoints(x="", y="", z="", w=""), ServicePolicy(balancer=ring))
    for _ in range(40):
        picked = found.pick((), KEYS[0])
        assert picked is not None
        picked.begin()
    actives = [endpoint.active for endpoint in found.endpoints]
    assert max(actives) == 13  # 1.25 times 10, rounded up
    assert min(actives) > 0


async def test_keys_go_first_to_the_zone() -> None:
    found = cluster(endpoints(x="a", y="a", z="b"), ServicePolicy(balancer=RING, locality=ZONES))
    assert {found.pick((), key) for key in KEYS} == {by_id(found, "x"), by_id(found, "y")}
    x, y, z = (by_id(found, name) for name in "xyz")
    assert found.pick((x, y), KEYS[0]) is z


async def test_a_balancer_that_no_longer_measures_forgets() -> None:
    found = cluster(endpoints(x="", y=""), ServicePolicy(balancer=Balancer("peak_ewma")))
    assert all(endpoint.ewma is not None for endpoint in found.endpoints)
    fail(by_id(found, "x"))
    scores = found.choice.scores(time.monotonic())
    assert scores[by_id(found, "x")] > scores[by_id(found, "y")]
    found.update(endpoints(x="", y=""), ServicePolicy())
    assert all(endpoint.ewma is None for endpoint in found.endpoints)
