"""Laws of splitting a limit: the parts are the whole, nobody starves, who wants little does not pay for others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.shares import EQUAL_SHARE, IDLE_SHARE, max_min_shares, shares_by_key

limits = st.floats(0.01, 1e6)
demands = st.dictionaries(st.integers(0, 50), st.floats(0, 1e7), min_size=1, max_size=40)


@given(limits, demands)
def test_the_parts_are_the_whole_and_nobody_starves(limit: float, wanted: dict[int, float]) -> None:
    shares = max_min_shares(limit, wanted)
    assert shares.keys() == wanted.keys()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= IDLE_SHARE / len(wanted) * 0.999
    assert max(shares.values()) <= 1.0


@given(limits, demands)
def test_who_wants_less_than_an_equal_part_gets_it(limit: float, wanted: dict[int, float]) -> None:
    shares = max_min_shares(limit, wanted)
    equal = limit / len(wanted)
    for who, demand in wanted.items():
        assert shares[who] * limit >= min(demand, equal) * 0.999


@given(limits, demands)
def test_who_is_cut_short_has_as_much_as_anybody(limit: float, wanted: dict[int, float]) -> None:
    shares = max_min_shares(limit, wanted)
    short = [shares[who] for who in wanted if shares[who] * limit < wanted[who] * 0.999]
    if short:
        assert min(short) >= max(shares.values()) * 0.999


@given(limits, demands, st.randoms(use_true_random=False))
def test_order_does_not_matter(limit: float, wanted: dict[int, float], random: object) -> None:
    names = list(wanted)
    random.shuffle(names)  # type: ignore[attr-defined]
    again = max_min_shares(limit, {who: wanted[who] for who in names})
    assert again == pytest.approx(max_min_shares(limit, wanted))


def test_by_hand() -> None:
    assert max_min_shares(100, {"a": 100, "b": 50, "c": 20}) == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})
    assert max_min_shares(100, {"a": 30, "b": 0}) == pytest.approx({"a": 0.645, "b": 0.355})
    assert max_min_shares(100, {}) == {}


@given(limits, demands)
def test_parts_by_key_are_the_whole_too_and_everybody_has_some(limit: float, wanted: dict[int, float]) -> None:
    shares = shares_by_key(limit, wanted)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= EQUAL_SHARE / len(wanted) * 0.999
    most = max(wanted, key=wanted.__getitem__)
    assert shares[most] == max(shares.values())


def test_parts_by_key_follow_where_requests_come() -> None:
    assert shares_by_key(100, {"a": 30, "b": 10}) == pytest.approx({"a": 0.679, "b": 0.321}, abs=0.001)
    assert shares_by_key(100, {"a": 1e-9, "b": 0}) == pytest.approx({"a": 0.5, "b": 0.5})
