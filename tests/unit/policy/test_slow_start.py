from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import SlowStart
from remora.sidecar.policy.slow_start import share, weights


@given(st.floats(0.1, 600), st.floats(0.01, 1), st.floats(0, 700), st.floats(0, 700))
def test_the_share_grows_from_the_least_to_all(window: float, least: float, age: float, more: float) -> None:
    config = SlowStart(window, least)
    assert least <= share(config, age) <= 1.0
    assert share(config, age) <= share(config, age + more)
    assert share(config, window) == 1.0
    assert share(config, 0.0) == max(least, 0.0)


def test_new_ones_weigh_less_and_old_ones_as_ever_in_proportion() -> None:
    config = SlowStart(10.0, 0.1)
    assert weights(config, [1, 1, 2], [100.0, 0.0, 5.0]) == [100, 10, 100]
    assert weights(config, [1, 3], [10.0, 11.0]) is None
    assert weights(None, [1, 3], [0.0, 0.0]) is None
