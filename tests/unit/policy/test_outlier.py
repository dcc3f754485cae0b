"""Outlier ejection: Envoy's rules, over random histories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import Outlier, SuccessRate
from remora.sidecar.policy.outlier import OutlierState, below_the_others, eject, may_eject, return_due, take_back

CONFIG = Outlier()


@given(st.integers(0, 50), st.floats(0, 1))
def test_no_more_than_the_share_is_out_but_one(endpoints: int, share: float) -> None:
    config, ejected = Outlier(max_share=share), 0
    while may_eject(config, ejected, endpoints):
        ejected += 1
    assert ejected <= max(1, int(share * endpoints))
    assert ejected < max(endpoints, 1) or share == 1.0
    assert ejected >= (endpoints > 1)


def test_each_ejection_is_longer_up_to_the_most() -> None:
    state, now, spans = OutlierState(), 0.0, []
    for _ in range(12):
        spans.append(eject(CONFIG, state, now) - now)
        now = state.ejected_until
        assert not return_due(state, now - 0.01)
        assert return_due(state, now)
    assert spans == [30.0 * number for number in range(1, 11)] + [300.0, 300.0]


def test_quiet_times_are_forgiven_one_by_one() -> None:
    state = OutlierState()
    for _ in range(3):
        eject(CONFIG, state, state.ejected_until)
        return_due(state, state.ejected_until)
    back = state.returned_at
    assert eject(CONFIG, state, back + 61) == back + 61 + 60


def test_what_makes_no_ejection_longer_needs_no_forgiving() -> None:
    state = OutlierState()
    for _ in range(50):
        eject(CONFIG, state, state.ejected_until)
        return_due(state, state.ejected_until)
    back = state.returned_at
    assert eject(CONFIG, state, back + 9.5 * CONFIG.base_s) == back + 9.5 * CONFIG.base_s + 2 * CONFIG.base_s


def test_the_base_goes_before_the_most() -> None:
    config, state = Outlier(base_s=600.0, max_s=300.0), OutlierState()
    assert eject(config, state, 0.0) == 600.0
    assert return_due(state, 600.0)
    assert eject(config, state, 600.0) == 1200.0


def test_who_comes_back_has_failed_at_nothing_yet() -> None:
    state = OutlierState()
    until = eject(CONFIG, state, 0.0)
    state.failures = 7  # of attempts that had begun before
    assert not return_due(state, until - 1)
    assert state.failures == 7
    assert return_due(state, until)
    assert (state.failures, state.ejected_until, state.returned_at) == (0, 0.0, until)
    eject(CONFIG, state, until)
    take_back(state, until + 1)
    assert (state.failures, state.ejected_until, state.returned_at) == (0, 0.0, until + 1)


def test_who_is_ejected_is_not_judged_and_its_counts_do_not_wait_for_it() -> None:
    states = [OutlierState() for _ in range(6)]
    for state in states:
        state.succeeded = 1000
    states[0].succeeded, states[0].failed = 0, 1000
    eject(CONFIG, states[0], 0.0)
    assert below_the_others(SuccessRate(), states) == []
    assert (states[0].succeeded, states[0].failed) == (0, 0)


def test_success_rate_ejects_the_one_that_is_worse_than_all() -> None:
    states = [OutlierState() for _ in range(6)]
    for state in states:
        state.succeeded, state.failed = 990, 10
    states[4].succeeded, states[4].failed = 500, 500
    states[5].succeeded, states[5].failed = 0, 5
    assert below_the_others(SuccessRate(), states) == [4]
    assert all(state.succeeded == state.failed == 0 for state in states)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=12))
def test_equals_and_the_best_are_never_outliers(counts: list[tuple[int, int]]) -> None:
    states = []
    for good, bad in counts:
        state = OutlierState()
        state.succeeded, state.failed = good, bad
        states.append(state)
    rates = [good / (good + bad) if good + bad >= 100 else None for good, bad in counts]
    found = below_the_others(SuccessRate(), states)
    measured = [rate for rate in rates if rate is not None]
    for index in found:
        assert rates[index] is not None
        assert rates[index] != max(measured)
    if len(measured) < 5 or len(set(measured)) == 1:
        assert found == []
