"""The arithmetic of a comparison: medians, spreads, percentiles, ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The middle of `values`, which must not be empty."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles, relative to the median: 0.05 reads ±5 %.

    0 for a single value or a median of 0. Quartiles, because one disturbed round should not widen it.
    """
    middle = median(values)
    if len(values) < 2 or not middle:
        return 0.0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / 2 / abs(middle)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ascending `ordered`, which must not be empty; `share` from 0 to 1."""
    rank = math.ceil(share * len(ordered))
    return ordered[max(rank, 1) - 1]


def ratio(value: float, baseline: float) -> float | None:
    """`value` in units of `baseline`; None when that says nothing."""
    return value / baseline if baseline > 0 else None
