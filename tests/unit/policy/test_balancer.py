"""Laws of the balancers, over random weights, loads and draws."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import BalancerKind
from remora.sidecar.policy.balancer import LeastRequest, RandomChoice, RoundRobin, make_balancer


@dataclass
class Endpoint:
    weight: int = 1
    active: int = 0


weights = st.lists(st.integers(1, 50), min_size=1, max_size=12)
KINDS: list[BalancerKind] = ["least_request", "round_robin", "random"]


@given(weights, st.sampled_from(KINDS), st.integers())
def test_every_pick_is_an_endpoint(found: list[int], kind: BalancerKind, seed: int) -> None:
    source = random.Random(seed)
    balancer = make_balancer(kind, [Endpoint(weight) for weight in found], source.random)
    assert all(0 <= balancer.pick(source.random) < len(found) for _ in range(50))


@given(weights, st.floats(0, 0.999))
def test_round_robin_is_exact_over_a_whole_turn(found: list[int], start: float) -> None:
    balancer = RoundRobin([Endpoint(weight) for weight in found], start)
    total = sum(found) if len(set(found)) > 1 else len(found)
    for _ in range(3):
        seen = Counter(balancer.pick(random.random) for _ in range(total))
        assert [seen[index] for index in range(len(found))] == (found if total == sum(found) else [1] * len(found))


def test_weighted_round_robin_is_smooth() -> None:
    balancer = RoundRobin([Endpoint(5), Endpoint(1), Endpoint(1)])
    assert [balancer.pick(random.random) for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]


@pytest.mark.parametrize("kind", ["random", "least_request"])
def test_idle_endpoints_share_by_weight(kind: BalancerKind) -> None:
    source = random.Random(1)
    endpoints = [Endpoint(1), Endpoint(2), Endpoint(5)]
    balancer = make_balancer(kind, endpoints, source.random)
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


def test_the_last_draw_stays_in_bounds() -> None:
    assert RandomChoice([Endpoint(1), Endpoint(3)]).pick(lambda: 0.9999999999999999) == 1
