"""A token bucket: a rate, and a burst on top. Pure: the time is an argument, of any steady clock.

Over any window of w seconds it lets at most `burst + rate · w` through.
"""

from __future__ import annotations


class TokenBucket:
    """Full at first. It keeps the time at which it is full again, and nothing else: that is exact, and has no drift
    (the generic cell rate algorithm, ITU-T I.371)."""

    __slots__ = ("_full_at", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        """`rate`: tokens per second, above 0; `burst`: how many there are at most, at least 1."""
        self.rate = rate
        self.burst = burst
        self._full_at = float("-inf")

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        full_at = max(self._full_at, now) + 1.0 / self.rate
        if full_at - now > self.burst / self.rate + _ROUNDING_S:
            return False
        self._full_at = full_at
        return True

    def tokens(self, now: float) -> float:
        """How many there are."""
        return max(0.0, self.burst - max(0.0, self._full_at - now) * self.rate)

    def wait_s(self, now: float) -> float:
        """Seconds until there is a token."""
        return max(0.0, self._full_at + (1.0 - self.burst) / self.rate - now)

    def is_full(self, now: float) -> bool:
        """Whether forgetting it would change nothing."""
        return self._full_at <= now

    def configure(self, rate: float, burst: float, now: float) -> None:
        """Go on at another rate with the tokens that there are, as far as they have room."""
        missing = max(0.0, burst - self.tokens(now))
        self.rate, self.burst = rate, burst
        self._full_at = now + missing / rate


_ROUNDING_S = 1e-9
"""Sums of floats are not exact; a token must not be lost to that."""
