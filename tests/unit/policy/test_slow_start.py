from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import SlowStart
from remora.sidecar.policy.slow_start import share


@given(st.floats(0.1, 600), st.floats(0.01, 1), st.floats(0, 700), st.floats(0, 700))
def test_the_share_grows_from_the_least_to_all(window: float, least: float, age: float, more: float) -> None:
    config = SlowStart(window, least)
    assert least <= share(config, age) <= 1.0
    assert share(config, age) <= share(config, age + more)
    assert share(config, window) == 1.0
    assert share(config, 0.0) == max(least, 0.0)
