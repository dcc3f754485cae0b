"""Retries never add more load than the budget says, however requests fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import RetryBudget
from remora.sidecar.policy.retry_budget import WINDOW_S, Budget


@given(st.floats(0, 1), st.integers(0, 10), st.lists(st.sampled_from(["begin", "end", "retry", "over"]), max_size=300))
def test_no_more_are_retried_at_a_time_than_may(share: float, minimum: int, steps: list[str]) -> None:
    budget, first_tries = Budget(RetryBudget(share, minimum)), 0
    for step in steps:
        match step:
            case "begin":
                first_tries += 1
            case "end" if first_tries:
                first_tries -= 1
            case "retry" if first_tries:
                room = max(minimum, int(share * (first_tries - 1)))
                assert budget.has_place(first_tries - 1 + budget.retrying) == (budget.retrying < room)
                if budget.has_place(first_tries - 1 + budget.retrying):
                    first_tries -= 1
                    budget.take()
            case "over" if budget.retrying:
                budget.give_back()


@given(st.integers(20, 500))
def test_when_all_fail_a_fifth_is_added(requests: int) -> None:
    """Steps of one try each: whoever fails tries again if the budget lets it; else it is over and a new one comes."""
    budget = Budget(RetryBudget(0.2, 3))
    first_tries = retries = 0
    for _ in range(50):
        retries += budget.retrying
        first_tries += requests - budget.retrying
        while budget.retrying:
            budget.give_back()
        left = requests
        while left and budget.has_place(left - 1):
            budget.take()
            budget.waiting += 1
            left -= 1
        budget.waiting = 0
    assert retries <= 0.2 * first_tries + 3 * 50 * (requests < 19)
    assert retries > 0.1 * first_tries


def test_those_that_wait_are_requests_too() -> None:
    budget = Budget(RetryBudget(0.5, 1))
    for _ in range(4):
        budget.take()
        budget.waiting += 1
    assert not budget.has_place(8), "8 first tries, 4 retries that wait"
    assert budget.has_place(10)


STEPS = st.lists(st.tuples(st.floats(0, 15), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=60)
"""After so many seconds: requests that begin, and retries that are wanted."""


@given(st.floats(0, 1), st.integers(0, 3), st.floats(0, 1e6), STEPS)
def test_over_any_stretch_of_time_no_more_retries_are_made_than_may(
    share: float, minimum_per_s: int, start: float, steps: list[tuple[float, int, int]]
) -> None:
    budget = Budget(RetryBudget(share, 0, minimum_per_s))
    now, began, retried = start, list[float](), list[float]()
    for seconds, requests, wanted in steps:
        now += seconds
        for _ in range(requests):
            budget.on_request(now)
            began.append(now)
        for _ in range(wanted):
            if budget.has_retries(now):
                budget.spend(now)
                retried.append(now)
                # It counts in steps of a second, so the edges of its window are not sharp.
                recent = sum(1 for when in retried if when > now - WINDOW_S + 1)
                live = sum(1 for when in began if when > now - WINDOW_S - 2)
                assert recent <= max(minimum_per_s * WINDOW_S, share * live)
    assert len(retried) <= share * len(began) + minimum_per_s * (now - start + WINDOW_S)


@pytest.mark.parametrize("at_a_time", [1, 3, 50])
@pytest.mark.parametrize("per_s", [5, 50, 500])
def test_what_fails_at_once_is_held_to_a_fifth_too(at_a_time: int, per_s: int) -> None:
    budget, requests, retries = Budget(RetryBudget()), 0, 0
    while requests < 60 * per_s:
        now = requests / per_s
        for _ in range(at_a_time):
            budget.on_request(now)
            requests += 1
        for _ in range(2 * at_a_time):
            if budget.has_retries(now):
                budget.spend(now)
                retries += 1
    assert 0.19 * requests <= retries <= 0.2 * requests


def test_a_request_now_and_then_may_be_retried_whatever_the_share_is() -> None:
    budget = Budget(RetryBudget(0.2, 3, 1))
    for minute in range(1, 10):
        now = 60.0 * minute
        budget.on_request(now)
        for _ in range(10):
            assert budget.has_retries(now)
            budget.spend(now)
        assert not budget.has_retries(now)


def test_requests_of_long_ago_pay_for_nothing() -> None:
    budget = Budget(RetryBudget(0.2, 3, 0))
    for _ in range(1000):
        budget.on_request(5.0)
    assert budget.has_retries(6.0)
    assert not budget.has_retries(3600.0)
