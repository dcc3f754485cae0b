from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.control.push.debounce import Debounce


def test_one_change_is_due_when_it_has_been_quiet() -> None:
    debounce = Debounce(0.02, 0.2)
    assert debounce.due is None
    debounce.changed(1.0)
    assert (debounce.first, debounce.due) == (1.0, 1.02)
    debounce.acted()
    assert (debounce.first, debounce.due) == (None, None)


def test_a_steady_stream_waits_no_longer_than_the_bound() -> None:
    debounce = Debounce(0.02, 0.2)
    for step in range(30):
        debounce.changed(1.0 + step * 0.01)
    assert debounce.due == 1.2


@given(st.lists(st.floats(0, 10), min_size=1))
def test_due_is_never_before_the_quiet_time_nor_after_the_bound(times: list[float]) -> None:
    debounce = Debounce(0.02, 0.2)
    for now in sorted(times):
        debounce.changed(now)
    assert debounce.due is not None
    assert min(times) + 0.02 <= debounce.due <= min(times) + 0.2
