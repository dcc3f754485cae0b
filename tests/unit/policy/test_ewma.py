"""Peak EWMA: peaks count at once, fade slowly, and failures do not attract."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.ewma import DECAY_S, PENALTY_S, PeakEwma

latencies = st.lists(st.tuples(st.floats(0, 5), st.floats(0.0001, 10)), min_size=1, max_size=50)


@given(latencies)
def test_it_is_never_more_than_the_slowest_and_just_after_an_answer_never_less_than_it(
    found: list[tuple[float, float]],
) -> None:
    ewma, now, slowest = PeakEwma(), 0.0, 0.0
    for gap, seconds in found:
        now, slowest = now + gap, max(slowest, seconds)
        ewma.observe(now, seconds)
        assert min(took for _, took in found) * 0.999 <= ewma.latency_s(now) <= slowest * 1.001
        assert ewma.latency_s(now + 1.0) < ewma.latency_s(now)


def test_a_peak_counts_at_once_and_fades() -> None:
    ewma = PeakEwma()
    ewma.observe(0.0, 0.01)
    ewma.observe(1.0, 2.0)
    assert ewma.latency_s(1.0) == 2.0
    ewma.observe(1.0 + DECAY_S, 0.01)
    assert 0.7 < ewma.latency_s(1.0 + DECAY_S) < 0.76


def test_a_fast_failure_does_not_attract() -> None:
    ewma = PeakEwma()
    ewma.observe(0.0, 0.001)
    ewma.observe_failure(0.0)
    assert ewma.latency_s(0.0) == PENALTY_S
    ewma.observe(0.0, 2 * PENALTY_S)
    ewma.observe_failure(0.0)
    assert ewma.latency_s(0.0) == 2 * PENALTY_S


def test_what_nobody_asked_for_a_while_is_tried_again() -> None:
    ewma = PeakEwma()
    ewma.observe_failure(0.0)
    assert ewma.latency_s(60.0) < 0.02
    assert ewma.cost(1e6, 0) == 0.0


def test_what_is_unknown_is_tried_by_one_request() -> None:
    ewma = PeakEwma()
    assert ewma.cost(0.0, 0) == 0.0
    assert ewma.cost(0.0, 1) > PENALTY_S


def test_an_answer_that_nobody_waited_for_says_how_long_it_took_at_least() -> None:
    ewma = PeakEwma()
    ewma.observe(0.0, 1.0)
    ewma.observe_at_least(0.0, 0.1)
    assert ewma.latency_s(0.0) == 1.0
    ewma.observe_at_least(0.0, 3.0)
    assert ewma.latency_s(0.0) == 3.0
