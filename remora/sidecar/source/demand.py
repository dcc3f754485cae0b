"""How many requests a second are wanted, smoothed. Pure: times are arguments."""

from __future__ import annotations

import math

SMOOTHED_OVER_S = 0.5
"""Older than this, an observation counts for a third or less."""


class Demand:
    """A mean whose weights fall exponentially with age."""

    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 0.0
        """Requests per second."""

    def observe(self, requests: int, seconds: float) -> None:
        """So many came in the last `seconds`, above 0."""
        weight = 1.0 - math.exp(-seconds / SMOOTHED_OVER_S)
        self.rate += weight * (requests / seconds - self.rate)

    def has_moved(self, told: float) -> bool:
        """Whether it is worth telling to those who were told `told`."""
        return abs(self.rate - told) > 0.5 + 0.02 * told
