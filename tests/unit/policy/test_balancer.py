"""Laws of the balancers, over random weights, loads and draws."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.model.policies import BalancerKind
from remora.sidecar.policy.balancer import Balancer, LeastRequest, Levels, RandomChoice, RoundRobin, make_balancer
from remora.sidecar.policy.ewma import PeakEwma


@dataclass
class Endpoint:
    weight: int = 1
    active: int = 0
    ewma: PeakEwma | None = None


weights = st.lists(st.integers(1, 50), min_size=1, max_size=12)
KINDS: list[BalancerKind] = ["least_request", "round_robin", "random", "peak_ewma"]


def made(kind: BalancerKind, endpoints: list[Endpoint], source: random.Random, now: float = 0.0) -> Balancer:
    return make_balancer(kind, endpoints, source.random, lambda: now)


@given(weights, st.sampled_from(KINDS), st.integers())
def test_every_pick_is_an_endpoint(found: list[int], kind: BalancerKind, seed: int) -> None:
    source = random.Random(seed)
    balancer = made(kind, [Endpoint(weight) for weight in found], source)
    assert all(0 <= balancer.pick(source.random) < len(found) for _ in range(50))


@given(weights, st.integers())
def test_round_robin_is_exact_over_a_whole_turn(found: list[int], seed: int) -> None:
    source = random.Random(seed)
    balancer = RoundRobin([Endpoint(weight) for weight in found], source.random)
    total = sum(found) if len(set(found)) > 1 else len(found)
    for _ in range(3):
        seen = Counter(balancer.pick(source.random) for _ in range(total))
        assert [seen[index] for index in range(len(found))] == (found if total == sum(found) else [1] * len(found))


@given(weights, st.integers())
def test_round_robin_lets_nobody_wait_longer_than_the_weights_say(found: list[int], seed: int) -> None:
    """Between two turns of one come as many of each other as it weighs more, and one at most in a part of a turn."""
    source = random.Random(seed)
    balancer = RoundRobin([Endpoint(weight) for weight in found], source.random)
    picks = [balancer.pick(source.random) for _ in range(3 * sum(found))]
    for index, weight in enumerate(found):
        turns = [place for place, picked in enumerate(picks) if picked == index]
        most = sum(-(-other // weight) for other in found) - 1
        assert all(after - before - 1 <= most for before, after in itertools.pairwise(turns))


@given(st.lists(st.integers(1, 100), min_size=2, max_size=5), st.integers())
@settings(max_examples=20, deadline=None)
def test_round_robin_that_is_made_anew_each_time_starves_nobody(found: list[int], seed: int) -> None:
    source = random.Random(seed)
    endpoints = [Endpoint(weight) for weight in found]
    seen = Counter(RoundRobin(endpoints, source.random).pick(source.random) for _ in range(2000))
    for index, weight in enumerate(found):
        expected = 2000 * weight / sum(found)
        assert abs(seen[index] - expected) <= 5 * expected**0.5 + 1


@pytest.mark.parametrize("kind", ["random", "least_request"])
def test_idle_endpoints_share_by_weight(kind: BalancerKind) -> None:
    source = random.Random(1)
    endpoints = [Endpoint(1), Endpoint(2), Endpoint(5)]
    balancer = made(kind, endpoints, source)
    seen = Counter()
    for _ in range(8000):
        index = balancer.pick(source.random)
        endpoints[index].active += kind == "least_request"
        seen[index] += 1
    for index, endpoint in enumerate(endpoints):
        assert abs(seen[index] / 8000 - endpoint.weight / 8) < 0.03


def test_least_request_prefers_the_less_loaded_of_two() -> None:
    source = random.Random(2)
    endpoints = [Endpoint(active=0), Endpoint(active=10)]
    balancer = LeastRequest(endpoints)
    assert {balancer.pick(source.random) for _ in range(100)} == {0}


def test_least_request_starves_no_idle_endpoint() -> None:
    source = random.Random(3)
    balancer = LeastRequest([Endpoint() for _ in range(10)])
    seen = Counter(balancer.pick(source.random) for _ in range(5000))
    assert min(seen.values()) > 300


@given(weights.filter(lambda found: len(found) > 1), st.sampled_from(KINDS), st.integers())
@settings(max_examples=40, deadline=None)
def test_no_idle_endpoint_is_starved(found: list[int], kind: BalancerKind, seed: int) -> None:
    source = random.Random(seed)
    endpoints = [Endpoint(weight) for weight in found]
    balancer = made(kind, endpoints, source)
    turns = 40 * sum(found)
    seen = Counter(balancer.pick(source.random) for _ in range(turns))
    for index, weight in enumerate(found):
        expected = turns * weight / sum(found)
        # Five standard deviations of chance; where weights are equal least request draws two that differ.
        assert abs(seen[index] - expected) <= 5 * expected**0.5 + 1


@given(st.integers(2, 8), st.integers(1, 30), st.integers())
@settings(max_examples=30, deadline=None)
def test_a_light_endpoint_gets_some_and_not_too_much_under_load(ratio: int, live: int, seed: int) -> None:
    """`live` requests at a time, each as long as the others."""
    source = random.Random(seed)
    endpoints = [Endpoint(10 * ratio), Endpoint(10 * ratio), Endpoint(10)]
    balancer = made("least_request", endpoints, source)
    running: list[int] = []
    seen = Counter[int]()
    for _ in range(3000):
        index = balancer.pick(source.random)
        endpoints[index].active += 1
        running.append(index)
        seen[index] += 1
        if len(running) > live:
            endpoints[running.pop(0)].active -= 1
    fair = 3000 / (2 * ratio + 1)
    assert fair / 4 < seen[2] < 2.3 * fair


def test_peak_ewma_prefers_the_faster_and_tries_the_slower_again_in_time() -> None:
    source, now = random.Random(5), 0.0
    endpoints = [Endpoint(ewma=PeakEwma()) for _ in range(3)]
    latencies = [0.005, 0.005, 0.2]
    balancer = make_balancer("peak_ewma", endpoints, source.random, lambda: now)
    seen = Counter[int]()
    for _ in range(20_000):
        now += 0.01
        index = balancer.pick(source.random)
        ewma = endpoints[index].ewma
        assert ewma is not None
        ewma.observe(now, latencies[index])
        seen[index] += 1
    assert min(seen[0], seen[1]) > 8000
    assert 4 <= seen[2] <= 20  # in 200 s: once for each time that it takes to forget


def test_peak_ewma_shares_by_weight_while_all_are_as_fast() -> None:
    source = random.Random(6)
    endpoints = [Endpoint(1, ewma=PeakEwma()), Endpoint(3, ewma=PeakEwma())]
    balancer = made("peak_ewma", endpoints, source)
    seen = Counter(balancer.pick(source.random) for _ in range(4000))
    assert abs(seen[0] / 4000 - 0.25) < 0.03


def test_peak_ewma_lets_the_heavier_have_more_in_flight() -> None:
    endpoints = [Endpoint(1, 1, PeakEwma()), Endpoint(3, 2, PeakEwma())]
    for endpoint in endpoints:
        assert endpoint.ewma is not None
        endpoint.ewma.observe(0.0, 0.01)
    draws = itertools.cycle([0.1, 0.9])  # both are drawn, the light one first
    assert made("peak_ewma", endpoints, random.Random()).pick(lambda: next(draws)) == 1


def test_levels_share_as_said_and_then_by_their_own_balancers() -> None:
    source = random.Random(7)
    groups = [[Endpoint(), Endpoint()], [Endpoint(), Endpoint(), Endpoint()]]
    levels = Levels([made("round_robin", group, source) for group in groups], [2, 3], [0.7, 0.3])
    seen = Counter(levels.pick(source.random) for _ in range(10_000))
    assert abs(seen[0] + seen[1] - 7000) < 5 * (10_000 * 0.7 * 0.3) ** 0.5
    assert abs(seen[0] - seen[1]) <= 1
    assert max(seen[2], seen[3], seen[4]) - min(seen[2], seen[3], seen[4]) <= 1


def test_the_last_draw_stays_in_bounds() -> None:
    assert RandomChoice([Endpoint(1), Endpoint(3)]).pick(lambda: 0.9999999999999999) == 1
