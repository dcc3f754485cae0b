from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.source.backoff import Backoff


def test_the_bound_doubles_up_to_the_cap_and_starts_again_after_a_reset() -> None:
    backoff = Backoff(0.1, 5.0, lambda: 1.0)
    assert [round(backoff.next_delay(), 3) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_delay() == 0.1


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=200))
def test_the_whole_interval_is_random_and_never_above_the_cap(numbers: list[float]) -> None:
    given_numbers = iter(numbers)
    backoff = Backoff(0.1, 5.0, lambda: next(given_numbers))
    for attempt, number in enumerate(numbers):
        assert backoff.next_delay() == number * min(5.0, 0.1 * 2 ** min(attempt, 10))
