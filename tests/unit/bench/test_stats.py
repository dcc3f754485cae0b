"""The arithmetic of comparisons."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import stats

numbers = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1)


@given(numbers)
def test_median_and_spread_stay_in_the_range(values: list[float]) -> None:
    assert min(values) <= stats.median(values) <= max(values)
    assert stats.spread(values) >= 0


@given(numbers)
def test_the_percentile_is_a_value_with_that_share_at_or_below(values: list[float]) -> None:
    ordered = sorted(values)
    for share in (0.5, 0.9, 0.99, 1.0):
        found = stats.percentile(ordered, share)
        assert found in ordered
        assert sum(value <= found for value in ordered) >= share * len(ordered)


def test_known_percentiles() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert stats.percentile(ordered, 0.5) == 50
    assert stats.percentile(ordered, 0.99) == 99
    assert stats.percentile([7.0], 0.99) == 7


def test_spread_is_half_the_distance_of_the_quartiles_over_the_median() -> None:
    assert stats.spread([80.0, 90.0, 100.0, 110.0, 120.0]) == pytest.approx(0.1)
    assert stats.spread([80.0, 90.0, 100.0, 110.0, 900.0]) == pytest.approx(0.1)
    assert stats.spread([5.0]) == 0
    assert stats.spread([-1.0, 0.0, 1.0]) == 0


def test_median_of_an_even_number() -> None:
    assert stats.median([1.0, 2.0, 3.0, 10.0]) == statistics.median([1, 2, 3, 10]) == 2.5


def test_no_ratio_to_nothing() -> None:
    assert stats.ratio(3.0, 2.0) == 1.5
    assert stats.ratio(3.0, 0.0) is None
