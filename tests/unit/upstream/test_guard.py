"""Breakers of a cluster: what they leave out, and that they outlive snapshots."""

from __future__ import annotations

import asyncio
import itertools
import time

import msgspec
import pytest

from remora.model.base import Origin
from remora.model.policies import Balancer, Breaker, Caps, Outlier, ServicePolicy
from remora.model.snapshot import Endpoint
from remora.sidecar.policy.breaker import REFUSED, BreakerState
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from tests.support.waiting import until

A, B = Endpoint("a", "127.0.0.1", 1), Endpoint("b", "127.0.0.1", 2)
SERVICE = Breaker("consecutive", failures=2, sleep_s=60)
EACH = Breaker("consecutive", per_endpoint=True, failures=2, sleep_s=60)


def policy(breaker: Breaker | None, caps: Caps | None = None) -> ServicePolicy:
    return ServicePolicy(
        balancer=Balancer("round_robin"),
        outlier=Outlier(consecutive=0),
        breaker=breaker,
        caps=caps or Caps(),
        origin=Origin("TrafficPolicy", "default", "shop"),
    )


def cluster(breaker: Breaker | None, caps: Caps | None = None, metrics: Metrics | None = None) -> Cluster:
    made = Cluster("shop.default", policy(breaker, caps), metrics or Metrics())
    made.update((A, B), made.policy)
    return made


def attempt(endpoint: UpstreamEndpoint, outcome: Outcome) -> int:
    ticket = endpoint.begin()
    endpoint.end(ticket, outcome)
    return ticket


def fail(endpoint: UpstreamEndpoint, times: int = 2) -> None:
    for _ in range(times):
        attempt(endpoint, Outcome.FAILED)


def picks(found: Cluster) -> set[str]:
    return {picked.name for picked in (found.pick() for _ in range(10)) if picked is not None}


async def test_an_open_breaker_of_a_service_outlives_snapshots_and_their_new_endpoints() -> None:
    found = cluster(SERVICE)
    fail(found.endpoints[0], 1)
    fail(found.endpoints[1], 1)
    assert found.is_shut
    objection = found.objection()
    assert objection is not None
    assert (objection.limit, objection.document) == ("breaker", "spec.breaker of TrafficPolicy default/shop")
    assert 59 < objection.wait_s <= 60
    found.update((A, Endpoint("c", "127.0.0.1", 3)), policy(msgspec.structs.replace(SERVICE, sleep_s=30)))
    assert found.is_shut
    assert found.breakers.state is BreakerState.OPEN
    found.update((A,), policy(None))
    assert not found.is_shut
    assert found.objection() is None
    assert attempt(found.endpoints[0], Outcome.OK) == REFUSED  # nobody counts
    found.abort()


async def test_an_open_breaker_of_an_endpoint_outlives_snapshots() -> None:
    found = cluster(EACH)
    fail(found.endpoints[0])
    assert picks(found) == {"b"}
    assert not found.is_shut
    found.update((A, B, Endpoint("c", "127.0.0.1", 3)), policy(EACH))
    assert picks(found) == {"b", "c"}
    fail(found.endpoints[1])
    fail(found.endpoints[2])
    assert (found.is_shut, found.pick()) == (True, None)
    found.update((A, B), policy(msgspec.structs.replace(EACH, shadow=True)))
    assert picks(found) == {"a", "b"}
    found.abort()


async def test_a_breaker_of_another_kind_begins_anew() -> None:
    found = cluster(SERVICE)
    fail(found.endpoints[0])
    assert found.is_shut
    found.update((A, B), policy(EACH))
    assert (found.is_shut, found.breakers.state) == (False, None)
    fail(found.endpoints[0])
    assert (picks(found), found.is_shut) == ({"b"}, False)
    found.update((A, B), policy(msgspec.structs.replace(SERVICE, kind="error_ratio")))
    assert picks(found) == {"a", "b"}
    assert found.breakers.state is BreakerState.CLOSED
    found.abort()


async def test_a_probe_that_nobody_waited_for_gives_its_place_back() -> None:
    found = cluster(msgspec.structs.replace(SERVICE, sleep_s=0.5))
    endpoint = found.endpoints[0]
    fail(endpoint)
    await until(lambda: found.breakers.state is BreakerState.HALF_OPEN)
    probe = endpoint.begin()
    assert found.is_shut
    endpoint.end(probe, Outcome.UNKNOWN)
    assert not found.is_shut
    found.abort()


async def test_what_changes_nothing_for_requests_is_not_reckoned_anew() -> None:
    found = cluster(msgspec.structs.replace(SERVICE, shadow=True))
    fail(found.endpoints[0])
    choice = found.choice
    fail(found.endpoints[1], 20)
    assert found.choice is choice
    assert found.breakers.state is BreakerState.OPEN
    found.abort()


async def test_half_open_outlives_snapshots_with_its_probe_out() -> None:
    breaker = msgspec.structs.replace(SERVICE, sleep_s=0.02)
    found = cluster(breaker)
    fail(found.endpoints[0])
    await until(lambda: found.breakers.state is BreakerState.HALF_OPEN)
    assert not found.is_shut
    longer = policy(msgspec.structs.replace(SERVICE, sleep_s=60))
    found.update((A, B), longer)
    probe = found.endpoints[0].begin()
    # Probes that hang are given up after the sleep that counted when it became half open.
    await asyncio.sleep(0)
    assert found.is_shut or found.breakers.state is BreakerState.HALF_OPEN
    found.update((A, B), longer)
    assert found.breakers.state is BreakerState.HALF_OPEN
    found.endpoints[0].end(probe, Outcome.OK)
    assert found.breakers.state is BreakerState.CLOSED
    assert found.traffic.active == 0
    found.abort()


async def test_a_stream_that_goes_on_closes_the_breaker() -> None:
    for probes in (1, 2):
        found = cluster(msgspec.structs.replace(SERVICE, sleep_s=0.02, probes=probes))
        endpoint = found.endpoints[0]
        fail(endpoint)
        await until(lambda found=found: found.breakers.state is BreakerState.HALF_OPEN)
        streams = [endpoint.on_answering(endpoint.begin()) for _ in range(probes)]
        await until(lambda found=found: found.breakers.state is BreakerState.CLOSED)
        assert not found.is_shut
        for ticket in streams:
            endpoint.end(ticket, Outcome.FAILED)
        assert found.breakers.state is BreakerState.CLOSED
        found.abort()


async def test_a_request_that_finds_streams_going_on_closes_the_breaker() -> None:
    """There is a place left, so nobody has waited for the time to pass."""
    found = cluster(msgspec.structs.replace(SERVICE, sleep_s=0.02, probes=2))
    endpoint = found.endpoints[0]
    fail(endpoint)
    await until(lambda: found.breakers.state is BreakerState.HALF_OPEN)
    streams = []
    for _ in range(2):
        streams.append(endpoint.on_answering(endpoint.begin()))
        assert found.breakers.state is BreakerState.HALF_OPEN
        await asyncio.sleep(0.03)
    streams.append(endpoint.begin())
    assert (found.breakers.state, found.is_shut) == (BreakerState.CLOSED, False)
    for ticket in streams:
        endpoint.end(ticket, Outcome.OK)
    found.abort()


async def test_nobody_hears_of_an_endpoint_that_is_gone() -> None:
    for breaker in (SERVICE, EACH):
        metrics = Metrics()
        found = cluster(msgspec.structs.replace(breaker, sleep_s=0.01), metrics=metrics)
        gone = found.endpoints[0]
        late = gone.begin()
        fail(gone)
        found.update((B,), found.policy)
        gone.end(late, Outcome.FAILED)
        fail(gone)
        assert found.traffic.active == 0
        assert found.is_shut is (breaker is SERVICE)
        if breaker is SERVICE:
            await until(lambda found=found: found.breakers.state is BreakerState.HALF_OPEN)
        else:
            await asyncio.sleep(0.03)  # its breaker would have woken
            assert metrics.breakers == {("shop.default", "open"): 1}
        found.abort()


async def test_what_an_attempt_was_judged_by_is_not_counted_again_at_its_end() -> None:
    found = cluster(SERVICE)
    endpoint = found.endpoints[0]
    ticket = endpoint.begin()
    endpoint.judge(ticket, Outcome.FAILED)
    endpoint.end(REFUSED, Outcome.FAILED)
    assert found.breakers.state is BreakerState.CLOSED
    attempt(endpoint, Outcome.FAILED)
    assert found.breakers.state is BreakerState.OPEN
    found.abort()


async def test_nobody_hears_of_an_attempt_that_began_before_there_was_a_breaker() -> None:
    found = cluster(None)
    endpoint = found.endpoints[0]
    tickets = [endpoint.begin() for _ in range(5)]
    found.update((A, B), policy(SERVICE))
    for ticket in tickets:
        endpoint.end(ticket, Outcome.FAILED)
    assert found.breakers.state is BreakerState.CLOSED
    found.abort()


async def test_the_cap_on_requests_is_asked_for_only_when_it_is_reached() -> None:
    found = cluster(None, Caps(requests=2))
    traffic = found.traffic
    first = found.endpoints[0].begin()
    assert traffic.active < traffic.asks_from
    second = found.endpoints[1].begin()
    assert traffic.active >= traffic.asks_from
    objection = found.objection()
    assert objection is not None
    assert (objection.limit, objection.most) == ("requests", 2)
    found.endpoints[0].end_well(first)
    assert found.objection() is None
    found.endpoints[1].end_well(second)
    found.update((A, B), policy(None, Caps(requests=0)))
    assert traffic.asks_from > 1 << 50
    found.abort()


async def test_an_endpoint_that_fails_its_checks_is_left_out_over_snapshots() -> None:
    found = cluster(None)
    found.check("a", "it is down")
    await asyncio.sleep(0)
    assert picks(found) == {"b"}
    choice = found.choice
    found.check("a", "it is down")
    found.check("nobody", "it is down")
    await asyncio.sleep(0)
    assert found.choice is choice
    found.update((A, B), policy(SERVICE))
    assert picks(found) == {"b"}
    found.check("a", "")
    await asyncio.sleep(0)
    assert picks(found) == {"a", "b"}
    found.abort()


async def test_a_timer_that_goes_off_a_moment_too_early_goes_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cluster(Breaker("consecutive", failures=2, sleep_s=0.05))
    fail(found.endpoints[0])
    guard = found.endpoints[0].guard
    assert guard is not None
    over, looks = time.monotonic() + guard.wait_s, itertools.count()
    guard.close()  # its timer: it goes off here
    # The first look at the clock is before it is over, the next is after.
    monkeypatch.setattr(time, "monotonic", lambda: over + (next(looks) - 0.5) * 1e-4)
    guard._wake()
    monkeypatch.undo()
    await until(lambda: found.breakers.state is BreakerState.HALF_OPEN)
    found.abort()
