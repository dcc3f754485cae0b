"""Peak EWMA: who answers fastest gets more (Finagle's p2c peak EWMA, Linkerd's). Pure: the time is an argument.

The latency of an endpoint is an average whose old values fade, that rises to a peak at once and falls slowly. Its cost
is `latency · (in flight + 1) / weight`; of two drawn by weight the cheaper one wins.

Deviation: a failure must not attract. An answer of 429 or 5xx, which may be very fast, counts as if it had taken at
least PENALTY_S (Linkerd's load biaser does so for 429; we for all failures).
"""

from __future__ import annotations

import math

DECAY_S = 10.0
"""An old value fades to 1/e in this time (Linkerd's default)."""

UNKNOWN_S = 0.03
"""Taken for the latency of an endpoint that has not answered yet (Linkerd's default RTT)."""

PENALTY_S = 5.0


class PeakEwma:
    """Of one endpoint."""

    __slots__ = ("_latency_s", "_seen_at")

    def __init__(self, now: float) -> None:
        self._latency_s = UNKNOWN_S
        self._seen_at = now

    def observe(self, now: float, seconds: float, *, failed: bool = False) -> None:
        """An attempt that took `seconds` is over."""
        if failed:
            seconds = max(seconds, PENALTY_S)
        if seconds >= self._latency_s:
            self._latency_s = seconds
        else:
            kept = math.exp(-max(0.0, now - self._seen_at) / DECAY_S)
            self._latency_s = self._latency_s * kept + seconds * (1.0 - kept)
        self._seen_at = max(now, self._seen_at)

    def latency_s(self, now: float) -> float:
        """As it is now: what nobody has asked for a while is forgotten, so that it is tried again."""
        kept = math.exp(-max(0.0, now - self._seen_at) / DECAY_S)
        return UNKNOWN_S + (self._latency_s - UNKNOWN_S) * kept if self._latency_s > UNKNOWN_S else self._latency_s
