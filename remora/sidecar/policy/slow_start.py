"""Slow start: a new endpoint takes little at first, and more and more until its window is over. Pure."""

from __future__ import annotations

from remora.model.policies import SlowStart

STEPS = 10
"""How often in a window weights are reckoned anew."""


def share(config: SlowStart, age_s: float) -> float:
    """The part of its weight that an endpoint of `age_s` has."""
    if age_s >= config.window_s:
        return 1.0
    return max(config.min_weight, age_s / config.window_s)
