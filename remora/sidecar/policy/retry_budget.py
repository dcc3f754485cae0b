"""The retry budget: how much retries may add to a service's load. Pure: times are arguments, of any steady clock.

It has two laws, and a retry must keep both:

* At any time: the retries under way are at most a share of the requests in flight that are not being retried. (Envoy's
  retry_budget counts retries among the requests too, and so lets through a quarter where a fifth was asked for.)
* Over time: the retries of ten seconds are at most the same share of the requests that began in them (Finagle's and
  Linkerd's budget). What fails fast is hardly ever in flight, so the first law alone would let all of it be retried.

A service with little traffic has minima, for either law one. What provably was not processed is free of the second law,
and of both where not even a connection was made: however often it is tried, no app gets it more than once.
"""

from __future__ import annotations

from remora.model.policies import RetryBudget
from remora.sidecar.policy.rolling import BUCKETS, RollingCounts

WINDOW_S = 10.0
"""Finagle's time to live of a deposit."""
_BATCH_S = WINDOW_S / BUCKETS


class Budget:
    """Of one cluster."""

    __slots__ = ("_batch", "_batch_began", "_batch_until", "_config", "_counts", "retrying", "waiting")

    def __init__(self, config: RetryBudget) -> None:
        self._config = config
        self._counts = RollingCounts(WINDOW_S)
        """Good: requests that began. Bad: their retries."""
        self._batch = 0
        """Requests that are not in the counts yet, so that each costs an addition."""
        self._batch_began = 0.0
        self._batch_until = 0.0
        self.retrying = 0
        """Requests that are being retried."""
        self.waiting = 0
        """Those of them that have no attempt in flight now."""

    def configure(self, config: RetryBudget) -> None:
        self._config = config

    def on_request(self, now: float) -> None:
        """A request begins."""
        if now >= self._batch_until:
            self._count_batch(now)
        self._batch += 1

    def _count_batch(self, now: float) -> None:
        self._counts.add(self._batch_began, good=self._batch)
        self._batch = 0
        self._batch_began = now
        self._batch_until = now + _BATCH_S

    def has_place(self, active: int) -> bool:
        """Whether one more request may be retried; its attempt is over, `active` attempts of others are in flight."""
        others = active + self.waiting - self.retrying
        return self.retrying < max(self._config.minimum, int(self._config.share * others))

    def has_retries(self, now: float) -> bool:
        """Whether one more retry may be made within the window."""
        self._count_batch(now)
        counts, config = self._counts, self._config
        counts.forget(now)
        return counts.bad < max(int(config.minimum_per_s * WINDOW_S), int(config.share * counts.good))

    def take(self) -> None:
        """A request begins to be retried, and waits for its turn. Who takes gives back."""
        self.retrying += 1

    def give_back(self) -> None:
        """The retried request is over."""
        self.retrying -= 1

    def spend(self, now: float) -> None:
        """A retry is made."""
        self._counts.add(now, bad=1)
