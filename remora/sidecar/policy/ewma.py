"""Peak EWMA: who answers fastest gets more (Finagle's p2c peak EWMA, Linkerd's). Pure: the time is an argument.

The latency of an endpoint, from a request to its answer's head, is an average whose old values fade, that rises to a
peak at once and falls slowly. Its cost is `latency · (in flight + 1)`. What nobody has asked for a while falls too,
towards nothing: so each one is tried again in time, be it slow or not.

An endpoint of which nothing is known costs nothing while it is idle, and much while its first answer is awaited
(Finagle's): it is tried at once, but by one request.

Deviation: a failure must not attract. An answer of 429 or 5xx, which may be very fast, counts as if it had taken at
least PENALTY_S (Linkerd's load biaser does so for 429; we for all failures).
"""

from __future__ import annotations

import math

DECAY_S = 10.0
"""An old value fades to 1/e in this time (Linkerd's default)."""

PENALTY_S = 5.0


class PeakEwma:
    """Of one endpoint."""

    __slots__ = ("_latency_s", "_seen_at")

    def __init__(self) -> None:
        self._latency_s = 0.0
        """At `_seen_at`; 0: nothing is known."""
        self._seen_at = 0.0

    def observe(self, now: float, seconds: float) -> None:
        """An attempt was answered after `seconds`."""
        kept = self._kept(now)
        faded = self._latency_s * kept
        self._latency_s = seconds if seconds >= faded else faded + seconds * (1.0 - kept)
        self._seen_at = max(now, self._seen_at)

    def observe_failure(self, now: float) -> None:
        """An attempt failed, or was turned away."""
        self.observe_at_least(now, PENALTY_S)

    def observe_at_least(self, now: float, seconds: float) -> None:
        """An attempt would have taken longer than `seconds`: nobody has waited for its end."""
        if seconds > self.latency_s(now):
            self.observe(now, seconds)

    def latency_s(self, now: float) -> float:
        """As it is now; 0: nothing is known."""
        return self._latency_s * self._kept(now)

    def cost(self, now: float, active: float) -> float:
        """Of one more request beside `active` ones."""
        latency_s = self.latency_s(now)
        return latency_s * (active + 1.0) if latency_s or not active else PENALTY_S + active

    def _kept(self, now: float) -> float:
        return math.exp(-max(0.0, now - self._seen_at) / DECAY_S)
