"""Exponential backoff with full jitter: `random · min(cap, base · 2ⁿ)`.

From "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): the whole interval is random, so that the sidecars
that lost the same control do not come back at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Delays in seconds between attempts that fail one after another."""

    __slots__ = ("_attempt", "_base_s", "_cap_s", "_random")

    def __init__(self, base_s: float, cap_s: float, random: Callable[[], float]) -> None:
        """`random` gives numbers in [0, 1)."""
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self._attempt = 0

    def next_delay(self) -> float:
        """How long to wait before the next attempt; the bound doubles with every call, up to the cap."""
        bound = min(self._cap_s, self._base_s * (1 << self._attempt))
        if bound < self._cap_s:
            self._attempt += 1
        return self._random() * bound

    def reset(self) -> None:
        """An attempt has held: the next failure starts at `base_s` again."""
        self._attempt = 0
