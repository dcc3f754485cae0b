"""Peak EWMA: peaks count at once, fade slowly, and failures do not attract."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.ewma import DECAY_S, PENALTY_S, UNKNOWN_S, PeakEwma

latencies = st.lists(st.tuples(st.floats(0, 5), st.floats(0.0001, 10)), min_size=1, max_size=50)


@given(latencies)
def test_it_stays_between_what_was_seen(found: list[tuple[float, float]]) -> None:
    ewma, now = PeakEwma(0.0), 0.0
    for gap, seconds in found:
        now += gap
        ewma.observe(now, seconds)
        seen = [UNKNOWN_S, *(took for _, took in found)]
        assert min(seen) - 1e-9 <= ewma.latency_s(now) <= max(seen) + 1e-9


def test_a_peak_counts_at_once_and_fades() -> None:
    ewma = PeakEwma(0.0)
    ewma.observe(0.0, 0.01)
    ewma.observe(1.0, 2.0)
    assert ewma.latency_s(1.0) == 2.0
    ewma.observe(1.0 + DECAY_S, 0.01)
    assert 0.7 < ewma.latency_s(1.0 + DECAY_S) < 0.76


def test_a_fast_failure_does_not_attract() -> None:
    ewma = PeakEwma(0.0)
    ewma.observe(0.0, 0.001, failed=True)
    assert ewma.latency_s(0.0) == PENALTY_S


def test_what_nobody_asked_for_a_while_is_tried_again() -> None:
    ewma = PeakEwma(0.0)
    ewma.observe(0.0, 5.0, failed=True)
    assert ewma.latency_s(60.0) < 0.05
