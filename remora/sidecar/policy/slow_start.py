"""Slow start: a new endpoint takes little at first, and more and more until its window is over. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from remora.model.policies import SlowStart

STEPS = 10
"""How often in a window weights are reckoned anew."""

UNITS = 100
"""Of whole weight: balancers take whole numbers."""


def share(config: SlowStart, age_s: float) -> float:
    """The part of its weight that an endpoint of `age_s` has."""
    if age_s >= config.window_s:
        return 1.0
    return max(config.min_weight, age_s / config.window_s)


def weights(config: SlowStart | None, plain: Sequence[int], ages_s: Sequence[float]) -> list[int] | None:
    """What endpoints of these ages weigh for now, in proportion to each other; None: as ever, since none is new. Those
    that get nothing now have any age: let it be infinite."""
    if config is None or all(age >= config.window_s for age in ages_s):
        return None
    return [max(1, round(UNITS * weight * share(config, age))) for weight, age in zip(plain, ages_s, strict=True)]
