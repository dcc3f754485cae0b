"""When to act on a burst of changes: soon after the last, and never later than a bound after the first."""

from __future__ import annotations

QUIET_S = 0.020
"""How long nothing must have changed. One person's change, or one restarting instance, comes as several events."""
MAX_DELAY_S = 0.200
"""How long a steady stream of changes may hold back the first of them."""


class Debounce:
    """Pure: times are arguments, in seconds of any steady clock."""

    __slots__ = ("_first", "_last", "_max_delay_s", "_quiet_s")

    def __init__(self, quiet_s: float = QUIET_S, max_delay_s: float = MAX_DELAY_S) -> None:
        self._quiet_s = quiet_s
        self._max_delay_s = max_delay_s
        self._first: float | None = None
        self._last = 0.0

    def changed(self, now: float) -> None:
        """Something changed."""
        if self._first is None:
            self._first = now
        self._last = now

    @property
    def first(self) -> float | None:
        """When the oldest change that waits came; None when none waits."""
        return self._first

    @property
    def due(self) -> float | None:
        """When to act; None when nothing waits."""
        if self._first is None:
            return None
        return min(self._last + self._quiet_s, self._first + self._max_delay_s)

    def acted(self) -> None:
        """All that waited is done."""
        self._first = None
