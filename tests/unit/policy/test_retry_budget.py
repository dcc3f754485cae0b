"""Retries never add more load than the budget says, however requests fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import RetryBudget
from remora.sidecar.policy.retry_budget import Budget


@given(st.floats(0, 1), st.integers(0, 10), st.lists(st.sampled_from(["begin", "end", "retry", "over"]), max_size=300))
def test_no_more_are_retried_than_may(share: float, minimum: int, steps: list[str]) -> None:
    budget, first_tries = Budget(RetryBudget(share, minimum)), 0
    for step in steps:
        match step:
            case "begin":
                first_tries += 1
            case "end" if first_tries:
                first_tries -= 1
            case "retry" if first_tries:
                room = max(minimum, int(share * (first_tries - 1)))
                assert budget.has_room(first_tries - 1 + budget.retrying) == (budget.retrying < room)
                if budget.has_room(first_tries - 1 + budget.retrying):
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
        while left and budget.has_room(left - 1):
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
    assert not budget.has_room(8), "8 first tries, 4 retries that wait"
    assert budget.has_room(10)
