"""Levels by zone: the nearest first, spill-over, failover, panic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.priorities import OVERPROVISIONING, levels_of_zones, load_levels

numbers = st.integers(1, 20).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
levels = st.lists(numbers, min_size=1, max_size=5)


def shares(*found: tuple[int, int], panic_share: float = 0.5) -> list[float]:
    return [round(load.share, 3) for load in load_levels(found, panic_share)]


def panics(*found: tuple[int, int]) -> list[bool]:
    return [load.panic for load in load_levels(found, 0.5)]


@given(levels, st.floats(0, 1))
def test_everything_goes_somewhere_while_anything_is_usable(found: list[tuple[int, int]], panic_share: float) -> None:
    loads = load_levels(found, panic_share)
    if panic_share or any(usable for usable, _ in found):
        assert sum(load.share for load in loads) == pytest.approx(1.0)
        assert all(usable or load.panic for (usable, _), load in zip(found, loads, strict=True) if load.share > 1e-9)


@given(levels)
def test_a_nearer_level_that_can_take_its_requests_gets_them(found: list[tuple[int, int]]) -> None:
    usable, total = found[0]
    if OVERPROVISIONING * usable >= total:
        assert shares(*found)[0] == 1.0


@given(levels.filter(lambda found: len(found) > 1))
def test_more_health_near_by_never_means_less_traffic_there(found: list[tuple[int, int]]) -> None:
    usable, total = found[0]
    if usable < total and any(well for well, _ in found) and not all(panics(*found)):
        assert shares((usable + 1, total), *found[1:])[0] >= shares(*found)[0] - 1e-9


# Figures of Envoy's documentation on priority levels.
@pytest.mark.parametrize(("usable", "share"), [(100, 1.0), (72, 1.0), (71, 0.994), (50, 0.7), (25, 0.35), (0, 0.0)])
def test_two_levels_as_envoy_has_them(usable: int, share: float) -> None:
    assert shares((usable, 100), (100, 100))[0] == pytest.approx(share, abs=0.001)


def test_what_all_together_cannot_take_is_scaled_up_and_small_ones_panic() -> None:
    assert shares((25, 100), (25, 100)) == [0.5, 0.5]
    assert panics((25, 100), (25, 100)) == [True, True]
    assert panics((5, 100), (65, 100)) == [True, False]
    assert shares((5, 100), (65, 100)) == [0.071, 0.929]
    assert panics((5, 100), (100, 100)) == [False, False]


def test_when_all_panic_numbers_decide() -> None:
    assert shares((0, 30), (0, 10)) == [0.75, 0.25]


def test_one_level_panics_below_its_threshold() -> None:
    assert panics((1, 2)) == [False]
    assert panics((1, 3)) == [True]
    assert load_levels([(0, 3)], 0.0)[0].panic is False


def test_zones_make_levels() -> None:
    assert levels_of_zones(["b", "a", "c", "", "a"], "a", ["c"]) == [[1, 4], [2], [0, 3]]
    assert levels_of_zones(["b", "c"], "a", []) == [[0, 1]]
    assert levels_of_zones(["a", "b"], "a", ["a", "b"]) == [[0], [1]]
