"""Adaptive concurrency, driven against a queue whose capacity is known."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from remora.model.policies import AdaptiveConcurrency
from remora.sidecar.policy.concurrency import ConcurrencyLimit

CONFIG = AdaptiveConcurrency(min_rtt_requests=10)


def drive(limit: ConcurrencyLimit, servers: int, service_s: float, callers: int, until_s: float) -> float:
    """`callers` that ask again at once, before an app of `servers`; gives the mean latency of the last second."""
    now, queue, free = 0.0, [], [0.0] * servers
    heapq.heapify(free)
    last: list[float] = []
    asking = callers
    while now < until_s:
        while asking and limit.admit():
            asking -= 1
            begin = max(now, heapq.heappop(free))
            heapq.heappush(free, begin + service_s)
            heapq.heappush(queue, (begin + service_s, now))
        now, began = heapq.heappop(queue)
        limit.on_answer(now, now - began)
        asking += 1
        if now > until_s - 1:
            last.append(now - began)
    for _ in queue:
        limit.on_dropped()
    return sum(last) / len(last)


def test_it_finds_the_capacity_and_keeps_latency_down() -> None:
    limit = ConcurrencyLimit(CONFIG, 0.0)
    latency = drive(limit, servers=20, service_s=0.01, callers=500, until_s=20)
    assert 15 <= limit.limit <= 45
    assert latency < 0.025, "500 callers without a limit would wait 0.25 s"


def test_it_does_not_stand_in_the_way_of_an_app_that_has_room() -> None:
    limit = ConcurrencyLimit(CONFIG, 0.0)
    drive(limit, servers=1000, service_s=0.01, callers=100, until_s=20)
    assert limit.limit >= 100


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0001, 2), st.floats(0, 0.2)), max_size=400))
@settings(max_examples=50)
def test_the_limit_stays_in_its_bounds(steps: list[tuple[bool, float, float]]) -> None:
    config = AdaptiveConcurrency(minimum=2, maximum=40, min_rtt_requests=5, min_rtt_interval_s=1.0)
    limit, now = ConcurrencyLimit(config, 0.0), 0.0
    for begins, seconds, gap in steps:
        now += gap
        if begins:
            before = limit.in_flight
            assert limit.admit() == (before < limit.limit)
        elif limit.in_flight:
            limit.on_answer(now, seconds)
        assert 2 <= limit.limit <= 40
        assert limit.in_flight >= 0


def test_latency_without_load_is_measured_anew() -> None:
    limit = ConcurrencyLimit(AdaptiveConcurrency(min_rtt_requests=5, min_rtt_interval_s=1.0), 0.0)
    drive(limit, servers=10, service_s=0.01, callers=20, until_s=0.9)
    assert limit.unloaded_s == 0.01
    seen = set()
    now = 0.9
    for _ in range(400):
        now += 0.005
        if limit.admit():
            limit.on_answer(now, 0.02)
        seen.add(limit.unloaded_s)
    assert 0.0 in seen
    assert 0.02 in seen


def steady(limit: ConcurrencyLimit, now: float, until_s: float, seconds: float) -> float:
    """One request after another."""
    while now < until_s:
        now += 0.01
        assert limit.admit()
        limit.on_answer(now, seconds)
    return now


def test_after_a_measurement_the_limit_is_what_it_was() -> None:
    limit = ConcurrencyLimit(AdaptiveConcurrency(min_rtt_requests=5, min_rtt_interval_s=2.0), 0.0)
    now = 0.0
    while not (limit.is_measuring and now > 1):
        learnt, now = limit.limit, steady(limit, now, now + 0.01, 0.01)
    assert learnt > 10
    assert limit.limit == 3
    steady(limit, now, now + 0.1, 0.01)
    assert not limit.is_measuring
    assert limit.limit >= learnt


def test_latency_may_grow_by_the_buffer() -> None:
    for seconds, is_grown in ((0.0124, True), (0.015, False)):
        limit = ConcurrencyLimit(AdaptiveConcurrency(maximum=200, min_rtt_requests=5), 0.0)
        steady(limit, steady(limit, 0.0, 0.04, 0.01), 40.0, seconds)
        assert (limit.limit == 200) is is_grown


def test_a_limit_that_stays_at_its_least_is_doubted() -> None:
    """The app has become slower for good: what was latency without load is not any more."""
    limit = ConcurrencyLimit(AdaptiveConcurrency(min_rtt_requests=5, min_rtt_interval_s=3600), 0.0)
    now = 0.0
    for seconds in (*[0.001] * 5, *[0.5] * 40):
        now += seconds
        assert limit.admit()
        limit.on_answer(now, seconds)
    assert limit.unloaded_s == 0.5


def test_what_began_under_load_says_nothing_of_latency_without() -> None:
    limit = ConcurrencyLimit(AdaptiveConcurrency(min_rtt_requests=2, min_rtt_interval_s=1.0), 0.0)
    for now in (0.01, 0.02, 1.5):
        assert limit.admit()
        limit.on_answer(now, 0.01)
    assert limit.is_measuring
    assert limit.admit()
    assert limit.admit()
    limit.on_answer(1.6, 1.0)
    limit.on_answer(1.6, 1.0)
    assert limit.is_measuring
    for now in (1.7, 1.71):
        assert limit.admit()
        limit.on_answer(now, 0.01)
    assert limit.unloaded_s == 0.01


def test_a_new_configuration_keeps_what_was_learnt() -> None:
    limit = ConcurrencyLimit(CONFIG, 0.0)
    drive(limit, servers=20, service_s=0.01, callers=500, until_s=5)
    learnt = limit.limit
    limit.configure(AdaptiveConcurrency(maximum=2000, min_rtt_requests=10))
    assert limit.limit == learnt
    limit.configure(AdaptiveConcurrency(minimum=1, maximum=4))
    assert limit.limit == 4


def test_instances_that_started_together_do_not_measure_together() -> None:
    def measures_at(random: float) -> float:
        limit = ConcurrencyLimit(AdaptiveConcurrency(min_rtt_requests=1, min_rtt_interval_s=10.0), 0.0, random)
        now = 0.0
        while True:
            now += 0.125
            assert limit.admit()
            limit.on_answer(now, 0.01)
            if limit.is_measuring and now > 1:
                return now

    assert 10.0 <= measures_at(0.0) < 11.0 < measures_at(0.9) <= 12.0
