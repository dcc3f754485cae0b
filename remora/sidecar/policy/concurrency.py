"""Adaptive concurrency: how many requests in flight an app stands, found out by how its latency grows. Pure.

The gradient controller of Envoy's adaptive concurrency filter (after Netflix' concurrency-limits). Every sample window:

    gradient = (latency without load + buffer) / latency now        in [0.5, 2]
    limit    = limit · gradient + √limit                            in [minimum, maximum]

The latency without load is measured anew now and then, with the limit at its minimum. √limit is the head room in which
bursts fit, and by which the limit finds its way up.
"""

from __future__ import annotations

import math

from remora.model.policies import AdaptiveConcurrency

PERCENTILE = 0.5
"""Of the latencies of a window: what counts."""

WINDOWS_AT_MINIMUM = 5
"""After so many with the limit at its minimum, the latency without load is doubted and measured anew (Envoy)."""

JITTER = 0.15
"""Up to so much later than configured the latency is measured anew, so that instances that were started together do not
all take few requests at once (Envoy's default)."""

MAX_SAMPLES = 1000
"""Of a window; of more, the first count. No measurement takes more (`measureRequests`)."""

_MIN_GRADIENT, _MAX_GRADIENT = 0.5, 2.0


class ConcurrencyLimit:
    """Of one app. `admit` before, `on_answer` or `on_dropped` after."""

    __slots__ = (
        "_at_minimum",
        "_config",
        "_measured_at",
        "_measures_since",
        "_resume",
        "_samples",
        "_stretch",
        "_until",
        "in_flight",
        "limit",
        "unloaded_s",
    )

    def __init__(self, config: AdaptiveConcurrency, now: float, random: float = 0.0) -> None:
        """`random`, in [0, 1), sets this instance apart from others."""
        self._config = config
        self._stretch = 1.0 + JITTER * random
        self.limit = config.minimum
        self.in_flight = 0
        self.unloaded_s = 0.0
        """Latency without load; 0: it is being measured."""
        self._resume = config.minimum
        """The limit after the measurement."""
        self._samples: list[float] = []
        self._until = now + config.sample_s
        self._measured_at = now
        self._measures_since = now
        self._at_minimum = 0
        """Windows in a row that ended with the limit there."""

    def configure(self, config: AdaptiveConcurrency) -> None:
        """Go on with `config`; the limit stays, within its bounds."""
        self._config = config
        self.limit = config.minimum if self.is_measuring else self._bounded(self.limit)
        self._resume = self._bounded(self._resume)

    @property
    def is_measuring(self) -> bool:
        """Whether the latency without load is being found out, with few requests in flight."""
        return self.unloaded_s == 0.0

    def admit(self) -> bool:
        """Whether one more request may be in flight; it is, then."""
        if self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    def admit_anyway(self) -> None:
        """One more is in flight, whatever the limit is."""
        self.in_flight += 1

    def on_dropped(self) -> None:
        """An admitted request is over, and its time says nothing."""
        self.in_flight -= 1

    def on_answer(self, now: float, seconds: float) -> None:
        """An admitted request was answered after `seconds`."""
        self.in_flight -= 1
        if self.is_measuring and now - seconds < self._measures_since:
            return  # begun under the load of before
        samples = self._samples
        if len(samples) < MAX_SAMPLES:
            samples.append(seconds)
        if self.is_measuring:
            if len(samples) >= self._config.min_rtt_requests:
                self._end_measuring(now)
        elif now >= self._until:
            self._move(now)

    def _end_measuring(self, now: float) -> None:
        self.unloaded_s = max(_typical(self._samples), 1e-6)
        self._measured_at = now
        self.limit = self._resume
        self._next_window(now)

    def _move(self, now: float) -> None:
        config = self._config
        gradient = self.unloaded_s * (1.0 + config.buffer) / max(_typical(self._samples), 1e-6)
        gradient = min(_MAX_GRADIENT, max(_MIN_GRADIENT, gradient))
        self.limit = self._bounded(self.limit * gradient + math.sqrt(self.limit))
        self._next_window(now)
        self._at_minimum = self._at_minimum + 1 if self.limit == config.minimum else 0
        doubted = self._at_minimum >= WINDOWS_AT_MINIMUM and config.minimum < config.maximum
        if doubted or now - self._measured_at >= config.min_rtt_interval_s * self._stretch:
            self._resume = self.limit
            self.limit = config.minimum
            self.unloaded_s = 0.0
            self._measures_since = now
            self._at_minimum = 0

    def _bounded(self, limit: float) -> int:
        return min(self._config.maximum, max(self._config.minimum, int(limit)))

    def _next_window(self, now: float) -> None:
        self._samples = []
        self._until = now + self._config.sample_s


def _typical(samples: list[float]) -> float:
    return sorted(samples)[int(PERCENTILE * (len(samples) - 1))]
