"""How many requests a second are wanted of a limit, smoothed. Pure: times are arguments."""

from __future__ import annotations

import math

LEAST_SMOOTHED_S = 0.5
MOST_SMOOTHED_S = 300.0
SMOOTHED_OVER = 20
"""Requests. Of a limit that lets few through, one request says little of how many there will be: observations are told
apart by age only over the time in which it lets so many through."""


class Demand:
    """A mean whose weights fall exponentially with age."""

    __slots__ = ("_limit", "_smoothed_over_s", "rate")

    def __init__(self, limit: float) -> None:
        """`limit`: requests per second."""
        self.rate = 0.0
        """Requests per second."""
        self.follow(limit)

    def follow(self, limit: float) -> None:
        """The limit lets so many through from now on."""
        self._limit = limit
        self._smoothed_over_s = min(max(SMOOTHED_OVER / limit, LEAST_SMOOTHED_S), MOST_SMOOTHED_S)

    def observe(self, requests: int, seconds: float) -> None:
        """So many came in the last `seconds`, above 0."""
        weight = 1.0 - math.exp(-seconds / self._smoothed_over_s)
        self.rate += weight * (requests / seconds - self.rate)

    def has_moved(self, told: float) -> bool:
        """Whether it is worth telling to those who were told `told`."""
        return abs(self.rate - told) > 0.005 * self._limit + 0.02 * told
