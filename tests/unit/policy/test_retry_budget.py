"""Retries never add more load than the budget says, however requests fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import RetryBudget
from remora.sidecar.policy.retry_budget import Budget


@given(st.floats(0, 1), st.integers(0, 10), st.lists(st.sampled_from(["begin", "end", "retry", "over"]), max_size=300))
def test_no_more_retry_than_may(share: float, minimum: int, steps: list[str]) -> None:
    budget = Budget(RetryBudget(share, minimum))
    for step in steps:
        match step:
            case "begin":
                budget.live += 1
            case "end" if budget.live > budget.retrying:
                budget.live -= 1
            case "retry" if budget.live > budget.retrying:
                room = max(minimum, int(share * (budget.live - budget.retrying - 1)))
                before = budget.retrying
                assert budget.take() == (before < room)
                assert budget.retrying <= max(room, before)
            case "over" if budget.retrying:
                budget.live -= 1
                budget.give_back()


@given(st.integers(20, 500))
def test_when_all_fail_a_fifth_is_added(requests: int) -> None:
    """Steps of one try each: whoever fails tries again if the budget lets it; else it is over and a new one comes."""
    budget = Budget(RetryBudget(0.2, 3))
    budget.live = requests
    first_tries = retries = 0
    for _ in range(50):
        retries += budget.retrying
        first_tries += requests - budget.retrying
        for _ in range(budget.retrying):
            budget.give_back()
        while budget.retrying < requests and budget.take():
            pass
    assert retries <= 0.2 * first_tries + 3 * 50 * (requests < 19)
    assert retries > 0.1 * first_tries
