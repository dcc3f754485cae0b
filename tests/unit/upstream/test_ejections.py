"""Ejections of a cluster over time, and over snapshots."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from remora.model.policies import Balancer, Outlier, ServicePolicy, SuccessRate
from remora.model.snapshot import Endpoint
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from tests.support.waiting import until

ONCE = ServicePolicy(balancer=Balancer("round_robin", panic_share=0.0), outlier=Outlier(consecutive=1, base_s=3600.0))


def endpoints(names: str) -> list[Endpoint]:
    return [Endpoint(name, "10.0.0.1", ord(name)) for name in names]


def cluster(names: str, policy: ServicePolicy, metrics: Metrics | None = None) -> Cluster:
    made = Cluster("shop.default", policy, metrics or Metrics())
    made.update(endpoints(names), policy)
    return made


def fail(endpoint: UpstreamEndpoint, times: int = 1) -> None:
    for _ in range(times):
        endpoint.end(endpoint.begin(), Outcome.FAILED)


def picks(found: Cluster) -> str:
    return "".join(sorted({picked.endpoint.id for picked in (found.pick() for _ in range(60)) if picked is not None}))


def by_id(found: Cluster) -> dict[str, UpstreamEndpoint]:
    return {endpoint.endpoint.id: endpoint for endpoint in found.endpoints}


@pytest.mark.parametrize(
    ("names", "percent", "left"),
    [("a", 100, "a"), ("ab", 50, "b"), ("ab", 10, "b"), ("ab", 100, ""), ("abc", 50, "bc"), ("abc", 70, "c")],
)
async def test_how_many_of_few_may_be_ejected(names: str, percent: int, left: str) -> None:
    outlier = msgspec.structs.replace(ONCE.outlier, max_share=percent / 100)
    found = cluster(names, msgspec.structs.replace(ONCE, outlier=outlier))
    for endpoint in found.endpoints:
        fail(endpoint)
    assert picks(found) == left
    found.abort()


async def test_who_comes_back_is_not_ejected_for_what_failed_before() -> None:
    outlier = Outlier(consecutive=3, base_s=0.01)
    found = cluster("ab", msgspec.structs.replace(ONCE, outlier=outlier))
    a = by_id(found)["a"]
    tickets = [a.begin() for _ in range(20)]
    for ticket in tickets:
        a.end(ticket, Outcome.FAILED)
    assert picks(found) == "b"
    await until(lambda: picks(found) == "ab")
    fail(a, 2)
    assert picks(found) == "ab"
    fail(a)
    assert picks(found) == "b"
    found.abort()


async def test_an_ejection_outlives_snapshots_that_say_nothing_of_it() -> None:
    found = cluster("abcd", ONCE)
    fail(by_id(found)["a"])
    found.update(endpoints("bacd"), msgspec.structs.replace(ONCE, balancer=Balancer("random")))
    assert picks(found) == "bcd"
    found.abort()


async def test_an_ejection_ends_in_time_after_snapshots() -> None:
    found = cluster("ab", msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=1, base_s=0.05)))
    fail(by_id(found)["a"])
    until_then = by_id(found)["a"].outlier.ejected_until
    found.update(endpoints("abc"), found.policy)
    assert by_id(found)["a"].outlier.ejected_until == until_then
    await until(lambda: picks(found) == "abc")
    found.abort()


async def test_with_fewer_endpoints_there_are_fewer_ejections() -> None:
    """Those are taken back that would have been first."""
    found = cluster("abcd", ONCE)
    fail(by_id(found)["a"])
    await asyncio.sleep(0.002)  # so that it is back earlier, on a coarse clock too
    fail(by_id(found)["b"])
    assert picks(found) == "cd"
    found.update(endpoints("abc"), ONCE)
    assert picks(found) == "ac"
    found.update(endpoints("b"), ONCE)
    assert picks(found) == "b"
    found.abort()


async def test_a_policy_that_ejects_nobody_takes_all_back() -> None:
    found = cluster("ab", ONCE)
    fail(by_id(found)["a"])
    found.update(endpoints("ab"), msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=0)))
    assert picks(found) == "ab"
    found.abort()


async def test_attempts_at_those_that_are_gone_eject_nobody() -> None:
    metrics = Metrics()
    found = cluster("ab", ONCE, metrics)
    a = by_id(found)["a"]
    ticket = a.begin()
    found.update(endpoints("bc"), ONCE)
    assert found.active == 1
    a.end(ticket, Outcome.FAILED)
    assert (found.active, metrics.ejections) == (0, {})
    assert picks(found) == "bc"
    found.abort()


async def test_failures_of_one_that_is_out_make_it_no_longer() -> None:
    metrics = Metrics()
    found = cluster("abcd", ONCE, metrics)
    a = by_id(found)["a"]
    fail(a)
    back_at = a.outlier.ejected_until
    fail(a, 5)
    assert (a.outlier.ejected_until, a.outlier.ejections) == (back_at, 1)
    assert metrics.ejections == {("shop.default",): 1}
    found.abort()


async def test_only_failures_in_a_row_eject() -> None:
    found = cluster("ab", msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=3)))
    a = by_id(found)["a"]
    for _ in range(5):
        fail(a, 2)
        a.end(a.begin(), Outcome.UNKNOWN)
        a.end(a.begin(), Outcome.OK)
    assert picks(found) == "ab"
    fail(a, 3)
    assert picks(found) == "b"
    found.abort()


async def test_nothing_is_left_to_wait_for_when_all_are_gone() -> None:
    found = cluster("ab", ONCE)
    fail(by_id(found)["a"])
    found.drain()
    assert found._ejections._waking is None


async def test_success_rates_are_judged_at_the_end_of_each_interval() -> None:
    def policy(interval_s: float) -> ServicePolicy:
        rate = SuccessRate(interval_s, min_endpoints=3, volume=5, deviations=1.0)
        return msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=0, success_rate=rate))

    found = cluster("abc", policy(3600.0))
    found.update(endpoints("abc"), policy(0.01))
    a = by_id(found)["a"]
    for _ in range(3):
        fail(a)
        await until(lambda: not a.outlier.failed)
    assert picks(found) == "abc"
    for endpoint in found.endpoints:
        for _ in range(10):
            endpoint.end(endpoint.begin(), Outcome.FAILED if endpoint is a else Outcome.OK)
    await until(lambda: picks(found) == "bc")
    found.abort()


async def test_success_rates_are_judged_by_what_is_counted_since_they_are_asked_for() -> None:
    found = cluster("abc", msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=0)))
    fail(by_id(found)["a"], 100)
    rate = SuccessRate(interval_s=0.01, min_endpoints=3, volume=5, deviations=1.0)
    policy = msgspec.structs.replace(ONCE, outlier=Outlier(consecutive=0, success_rate=rate))
    found.update(endpoints("abc"), policy)
    a = by_id(found)["a"]
    assert a.outlier.failed == 0
    for endpoint in found.endpoints:
        for _ in range(10):
            endpoint.end(endpoint.begin(), Outcome.FAILED if endpoint is a else Outcome.OK)
    await until(lambda: picks(found) == "bc")
    found.update(endpoints("abc"), msgspec.structs.replace(policy, outlier=Outlier(consecutive=0)))
    assert picks(found) == "abc"
    found.abort()
