"""Results of probes in a row → health. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Health = Literal["unknown", "healthy", "unhealthy"]


class Limits(msgspec.Struct, frozen=True):
    """When something counts as healthy, and how often it is asked. Seconds and counts."""

    healthy_after: int = 1
    unhealthy_after: int = 3
    interval_s: float = 1.0
    eager_interval_s: float = 0.25
    """While it is not healthy, or has just failed: what happens then should be known soon."""
    timeout_s: float = 1.0


class HealthTracker:
    """Results of probes in a row → health. Pure."""

    __slots__ = ("_failures", "_limits", "_subject", "_successes", "health", "reason")

    def __init__(self, limits: Limits, subject: str = "The app") -> None:
        self._limits = limits
        self._subject = subject
        self._successes = 0
        self._failures = 0
        self.health: Health = "unknown"
        self.reason = f"{subject} has not been asked yet."

    def configure(self, limits: Limits) -> None:
        """Go by these from now on."""
        self._limits = limits

    def observe(self, fault: str | None) -> bool:
        """Take in a probe's result: None for success, or what was wrong, a sentence. Whether `health` changed."""
        before = self.health
        if fault is None:
            self._failures = 0
            self._successes += 1
            self.reason = f"{self._subject} answers."
            if self._successes >= self._limits.healthy_after:
                self.health = "healthy"
        else:
            self._successes = 0
            self._failures += 1
            self.reason = fault
            if self._failures >= self._limits.unhealthy_after:
                self.health = "unhealthy"
        return self.health != before

    @property
    def next_probe_s(self) -> float:
        """How long to wait before asking again."""
        steady = self.health == "healthy" and self._failures == 0
        return self._limits.interval_s if steady else self._limits.eager_interval_s
