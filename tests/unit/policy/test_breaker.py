"""The circuit breaker, against its table of transitions and over random histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from remora.model.policies import Breaker, BreakerKind
from remora.sidecar.policy.breaker import REFUSED, BreakerState, CircuitBreaker

CONSECUTIVE = Breaker("consecutive", failures=3, sleep_s=5, probes=2)
RATIO = Breaker("error_ratio", window_s=10, volume=10, error_share=0.5, sleep_s=5)


def opened(config: Breaker, now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(config)
    while breaker.state is BreakerState.CLOSED:
        breaker.on_failure(breaker.admit(now), now)
    return breaker


def test_so_many_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker(CONSECUTIVE)
    for ok in (False, False, True, False, False):
        ticket = breaker.admit(0)
        breaker.on_success(ticket, 0) if ok else breaker.on_failure(ticket, 0)
    assert breaker.state is BreakerState.CLOSED
    breaker.on_failure(breaker.admit(0), 0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(4.99) == REFUSED
    assert breaker.retry_after_s(1) == 4


def test_half_open_lets_only_probes_through_and_closes_when_all_succeed() -> None:
    breaker = opened(CONSECUTIVE)
    first, second = breaker.admit(5), breaker.admit(5)
    assert REFUSED not in (first, second)
    assert breaker.admit(5) == REFUSED
    breaker.on_success(first, 5.1)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.on_success(second, 5.2)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit(5.2) != REFUSED


def test_a_failed_probe_opens_it_for_another_sleep() -> None:
    breaker = opened(CONSECUTIVE)
    first, second = breaker.admit(5), breaker.admit(5)
    breaker.on_failure(first, 6)
    breaker.on_success(second, 6.5)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(10.9) == REFUSED
    assert breaker.admit(11) != REFUSED


def test_a_probe_that_nobody_heard_of_again_gives_its_place_back() -> None:
    breaker = opened(CONSECUTIVE)
    breaker.admit(5)
    breaker.on_dropped(breaker.admit(5))
    assert breaker.admit(6) != REFUSED
    assert breaker.admit(6) == REFUSED


def test_probes_that_hang_are_not_waited_for_for_ever() -> None:
    breaker = opened(CONSECUTIVE)
    hanging = [breaker.admit(5), breaker.admit(5)]
    assert (breaker.admit(9.9), breaker.retry_after_s(9)) == (REFUSED, 1)
    others = [breaker.admit(10), breaker.admit(10)]
    assert REFUSED not in others
    assert breaker.admit(10) == REFUSED
    breaker.on_success(others[0], 11)
    breaker.on_success(hanging[0], 11)
    assert breaker.state is BreakerState.CLOSED


def test_probes_whose_answers_go_on_have_gone_well_after_another_sleep() -> None:
    breaker = opened(CONSECUTIVE)
    streams = [breaker.on_answering(breaker.admit(5)) for _ in range(2)]
    assert (breaker.admit(9.9), breaker.state) == (REFUSED, BreakerState.HALF_OPEN)
    breaker.wake(10)
    assert breaker.state is BreakerState.CLOSED
    breaker.on_failure(streams[0], 11)
    breaker.on_success(streams[1], 11)
    assert breaker.state is BreakerState.CLOSED
    breaker = opened(CONSECUTIVE)
    stream, hanging = breaker.on_answering(breaker.admit(5)), breaker.admit(5)
    assert breaker.admit(10) != REFUSED
    assert breaker.state is BreakerState.HALF_OPEN, "one of two hangs"
    breaker.on_failure(stream, 11)
    assert breaker.state is BreakerState.OPEN, "however late"
    breaker.on_success(hanging, 11)
    assert breaker.state is BreakerState.OPEN
    breaker = opened(CONSECUTIVE)
    breaker.on_dropped(breaker.on_answering(breaker.admit(5)))
    breaker.on_answering(breaker.admit(5))
    breaker.wake(10)
    assert breaker.state is BreakerState.HALF_OPEN, "who is gone counts no more"
    breaker.on_success(breaker.on_answering(breaker.admit(10)), 10)
    assert breaker.state is BreakerState.HALF_OPEN, "nor twice"


def test_a_probe_that_goes_late_has_as_long() -> None:
    breaker = opened(Breaker("consecutive", failures=1, sleep_s=5))
    breaker.wake(5)
    assert breaker.admit(9) != REFUSED
    assert (breaker.admit(10), breaker.admit(13.9), breaker.retry_after_s(13)) == (REFUSED, REFUSED, 1)
    assert breaker.admit(14) != REFUSED


def test_time_alone_makes_it_half_open_and_never_closes_it() -> None:
    breaker = opened(CONSECUTIVE)
    breaker.wake(4.9)
    assert breaker.state is BreakerState.OPEN
    for now in (5, 50, 500):
        breaker.wake(now)
        assert breaker.state is BreakerState.HALF_OPEN


def test_other_numbers_count_from_now_on() -> None:
    breaker = CircuitBreaker(CONSECUTIVE)
    breaker.on_failure(breaker.admit(0), 0)
    breaker.configure(Breaker("consecutive", failures=2, sleep_s=1))
    breaker.on_failure(breaker.admit(0), 0)
    assert breaker.state is BreakerState.OPEN
    breaker.configure(CONSECUTIVE)
    assert breaker.state is BreakerState.OPEN
    assert breaker.would_admit(1)


def test_another_window_counts_from_now_on() -> None:
    breaker = CircuitBreaker(RATIO)
    breaker.configure(Breaker("error_ratio", window_s=1, volume=10, error_share=0.5, sleep_s=5))
    for now in (*[0] * 5, *[2] * 5):
        breaker.on_failure(breaker.admit(now), now)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("config", [CONSECUTIVE, RATIO])
def test_it_closes_with_a_clean_sheet(config: Breaker) -> None:
    breaker = opened(config)
    for _ in range(config.probes):
        breaker.on_success(breaker.admit(5), 5)
    assert breaker.state is BreakerState.CLOSED
    for _ in range(2):
        breaker.on_failure(breaker.admit(5), 5)
    assert breaker.state is BreakerState.CLOSED


def test_probes_of_before_do_not_count() -> None:
    breaker = opened(CONSECUTIVE)
    first, second = breaker.admit(5), breaker.admit(5)
    breaker.on_success(first, 5)
    breaker.on_failure(second, 5)
    breaker.on_success(breaker.admit(10), 10)
    assert breaker.state is BreakerState.HALF_OPEN


def test_probes_that_hung_give_no_more_places_back_than_there_are() -> None:
    breaker = opened(Breaker("consecutive", failures=1, sleep_s=5))
    for ticket in (breaker.admit(5), breaker.admit(10), breaker.admit(15)):
        breaker.on_dropped(ticket)
    assert [breaker.admit(16) == REFUSED for _ in range(2)] == [False, True]


def test_what_was_let_through_earlier_says_nothing_later() -> None:
    breaker = CircuitBreaker(CONSECUTIVE)
    late = [breaker.admit(0) for _ in range(10)]
    for ticket in late[:3]:
        breaker.on_failure(ticket, 0)
    probe = breaker.admit(5)
    for ticket in late[3:]:
        breaker.on_failure(ticket, 5)
        breaker.on_success(ticket, 5)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.on_success(probe, 5)
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_ratio_counts_from_its_volume_on() -> None:
    breaker = CircuitBreaker(RATIO)
    for _ in range(9):
        breaker.on_failure(breaker.admit(0), 0)
    assert breaker.state is BreakerState.CLOSED
    breaker.on_failure(breaker.admit(0), 0)
    assert breaker.state is BreakerState.OPEN


@given(st.integers(1, 100))
def test_so_many_percent_are_so_many_of_a_hundred(percent: int) -> None:
    breaker = CircuitBreaker(Breaker("error_ratio", volume=100, error_share=percent / 100))
    for number in range(1, 101):
        ticket = breaker.admit(1)
        breaker.on_success(ticket, 1) if number <= 100 - percent else breaker.on_failure(ticket, 1)
        assert (breaker.state is BreakerState.OPEN) is (number == 100)


def test_a_ratio_forgets_what_is_older_than_its_window() -> None:
    breaker = CircuitBreaker(RATIO)
    for _ in range(9):
        breaker.on_failure(breaker.admit(0), 0)
    for _ in range(9):
        breaker.on_failure(breaker.admit(11), 11)
    assert breaker.state is BreakerState.CLOSED


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_ratio_below_the_bound_never_opens(good: int, bad: int) -> None:
    breaker = CircuitBreaker(RATIO)
    for _ in range(good):
        breaker.on_success(breaker.admit(1), 1)
    for _ in range(bad):
        if breaker.state is BreakerState.CLOSED:
            breaker.on_failure(breaker.admit(1), 1)
    if bad < 0.5 * (good + bad) or good + bad < 10:
        assert breaker.state is BreakerState.CLOSED
    elif bad >= 10:
        assert breaker.state is BreakerState.OPEN


class Histories(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(CONSECUTIVE)
        self.now = 0.0
        self.out: list[int] = []
        self.state = BreakerState.CLOSED
        self.opened_at = 0.0
        self.half_open_at = 0.0

    @rule(seconds=st.floats(0, 7))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        expected = self.breaker.would_admit(self.now)
        ticket = self.breaker.admit(self.now)
        assert (ticket != REFUSED) == expected
        if ticket != REFUSED:
            self.out.append(ticket)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def begin_to_answer(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.out) - 1))
        self.out[index] = self.breaker.on_answering(self.out[index])

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["well", "badly", "unknown"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if how == "well":
            self.breaker.on_success(ticket, self.now)
        elif how == "badly":
            self.breaker.on_failure(ticket, self.now)
        else:
            self.breaker.on_dropped(ticket)

    @invariant()
    def transitions_are_those_of_the_table(self) -> None:
        before, self.state = self.state, self.breaker.state
        if before is self.state:
            return
        assert (before, self.state) in {
            (BreakerState.CLOSED, BreakerState.OPEN),
            (BreakerState.OPEN, BreakerState.HALF_OPEN),
            (BreakerState.HALF_OPEN, BreakerState.OPEN),
            (BreakerState.HALF_OPEN, BreakerState.CLOSED),
        }
        if self.state is BreakerState.OPEN:
            self.opened_at = self.now
        if self.state is BreakerState.HALF_OPEN:
            self.half_open_at = self.now
        if before is BreakerState.OPEN:
            assert self.now >= self.opened_at + CONSECUTIVE.sleep_s

    @invariant()
    def half_open_has_no_more_probes_out_than_it_may(self) -> None:
        if self.breaker.state is BreakerState.HALF_OPEN:
            generations = [ticket & ~1 for ticket in self.out]
            newest = max(generations, default=0)
            rounds = 1 + int((self.now - self.half_open_at) / CONSECUTIVE.sleep_s)
            assert generations.count(newest) <= CONSECUTIVE.probes * rounds or newest == 0
            assert 0 <= self.breaker._probes_answering <= sum(ticket & 1 for ticket in self.out)


TestHistories = Histories.TestCase


@pytest.mark.parametrize("kind", ["error_ratio", "consecutive"])
def test_it_never_stays_open(kind: BreakerKind) -> None:
    breaker = opened(Breaker(kind, volume=1, failures=1))
    for now in range(5, 500, 5):
        ticket = breaker.admit(now)
        assert ticket != REFUSED
        breaker.on_failure(ticket, now)
