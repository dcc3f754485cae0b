"""The retry budget: how many retries may be under way at once. Pure.

Retries under way are those that wait for their turn or an answer. They may be at most a share of the requests in flight
that are not being retried, so that retries add at most that share to the load, however many requests fail (Envoy's
retry_budget counts retries among the requests too, and so lets through a quarter where a fifth was asked for). A
service with little traffic has a minimum.
"""

from __future__ import annotations

from remora.model.policies import RetryBudget


class Budget:
    """Of one cluster. `live` is kept by whoever begins and ends requests."""

    __slots__ = ("_config", "live", "retrying")

    def __init__(self, config: RetryBudget) -> None:
        self._config = config
        self.live = 0
        """Requests in flight, the retried ones included."""
        self.retrying = 0
        """Those of them that are being retried."""

    def configure(self, config: RetryBudget) -> None:
        self._config = config

    @property
    def limit(self) -> int:
        """How many may be retrying if one more begins to."""
        config = self._config
        return max(config.minimum, int(config.share * (self.live - self.retrying - 1)))

    def take(self) -> bool:
        """Begin to retry one of the requests in flight, if there is room. Who took gives back."""
        if self.retrying >= self.limit:
            return False
        self.retrying += 1
        return True

    def give_back(self) -> None:
        """The retried request is over."""
        self.retrying -= 1
