"""Counts over the last seconds. Pure: the time is an argument, of any steady clock."""

from __future__ import annotations

BUCKETS = 10
"""Of a window: what is counted is forgotten in steps of a tenth (hystrix' rolling window)."""


class RollingCounts:
    """Two counts, of good and bad, over a window."""

    __slots__ = ("_bads", "_goods", "_newest", "_width_s", "bad", "good")

    def __init__(self, window_s: float) -> None:
        self._width_s = window_s / BUCKETS
        self._goods = [0] * BUCKETS
        self._bads = [0] * BUCKETS
        self._newest = 0
        """Number of the bucket that counts now; numbers rise with time."""
        self.good = 0
        """In the window, as of the last call."""
        self.bad = 0

    @property
    def total(self) -> int:
        return self.good + self.bad

    def add(self, now: float, *, good: int = 0, bad: int = 0) -> None:
        """Count something that happens now."""
        self.forget(now)
        place = self._newest % BUCKETS
        self._goods[place] += good
        self._bads[place] += bad
        self.good += good
        self.bad += bad

    def forget(self, now: float) -> None:
        """Let go of what is older than the window."""
        number = int(now / self._width_s)
        behind = number - self._newest
        if behind <= 0:
            return
        for step in range(1, min(behind, BUCKETS) + 1):
            place = (self._newest + step) % BUCKETS
            self.good -= self._goods[place]
            self.bad -= self._bads[place]
            self._goods[place] = self._bads[place] = 0
        self._newest = number

    def clear(self) -> None:
        self._goods = [0] * BUCKETS
        self._bads = [0] * BUCKETS
        self.good = self.bad = 0
