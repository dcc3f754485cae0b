"""When an idle connection may be used: hypothetical endpoints, no sleeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.keep_alive import FRESH_S, LEARNT_FOR_S, MARGIN, KeepAlive


def test_nobody_waits_for_what_is_fresh() -> None:
    assert KeepAlive(60).may_take(FRESH_S / 2, FRESH_S / 2, repeatable=False)


def test_what_cannot_be_repeated_waits_until_something_is_known() -> None:
    known = KeepAlive(60)
    assert known.may_take(1.0, 1.0, repeatable=True)
    assert not known.may_take(1.0, 1.0, repeatable=False)
    # An older connection is still open.
    assert known.may_take(1.0, 2.0, repeatable=False)
    known.on_outlived(1.5)
    assert known.may_take(1.0, 1.0, repeatable=False)
    assert not known.may_take(1.4, 1.4, repeatable=False)


@pytest.mark.parametrize("repeatable", [True, False])
def test_the_endpoints_own_time_counts(repeatable: bool) -> None:
    announced, shown = KeepAlive(60), KeepAlive(60)
    announced.on_announced(5.0)
    shown.on_closed(5.0, 100.0)
    for known in (announced, shown):
        assert known.limit_s == MARGIN * 5.0
        assert known.may_take(3.7, 3.7, repeatable=repeatable)
        assert not known.may_take(3.8, 9.0, repeatable=repeatable)


def test_our_own_time_is_the_longest() -> None:
    known = KeepAlive(2.0)
    known.on_announced(75.0)
    assert known.limit_s == 2.0
    assert KeepAlive(0).limit_s == float("inf")
    known.configure(100.0)
    assert known.limit_s == MARGIN * 75.0


def test_the_shortest_time_counts_until_it_is_long_ago() -> None:
    known = KeepAlive(60)
    for number, idle_s in enumerate((5.0, 4.0, 7.0)):
        known.on_closed(idle_s, 10.0 * number)
    assert known.limit_s == MARGIN * 4.0
    known.age(20.0 + LEARNT_FOR_S - 1)
    assert known.limit_s == MARGIN * 4.0
    known.age(20.0 + LEARNT_FOR_S + 1)
    assert (known.limit_s, known.is_known) == (60, False)


def test_a_server_that_stops_teaches_nothing() -> None:
    known = KeepAlive(60)
    known.on_closed(5.0, 1.0)
    for idle_s in (3.0, 1.0, 0.3):
        known.on_closed(idle_s, 50.0)
    # The oldest of them may have been a timer's; what went with it was not.
    assert known.limit_s >= MARGIN * 3.0
    known.on_unreachable()
    assert not known.is_known


@given(st.floats(0.05, 30), st.lists(st.floats(0, 40), max_size=50), st.floats(0, 1))
def test_no_request_that_cannot_be_repeated_meets_a_closing(keeps_s: float, gaps: list[float], late: float) -> None:
    """A server with a timer, a caller with gaps between its requests, one connection more at most."""
    known, now, idle_since = KeepAlive(60), 0.0, [0.0]
    for gap in gaps:
        now += gap
        closing = [since for since in idle_since if now - since > keeps_s]
        for since in sorted(closing):
            known.on_closed(keeps_s, since + keeps_s)
        idle_since = sorted(since for since in idle_since if since not in closing and now - since < known.limit_s)
        if idle_since and known.may_take(now - idle_since[-1], now - idle_since[0], repeatable=False):
            assert now - idle_since.pop() <= max(FRESH_S, keeps_s * 0.9)
        idle_since.append(now)
