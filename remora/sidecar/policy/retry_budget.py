"""The retry budget: how many retries may be under way at once. Pure.

Retries under way are those that wait for their turn or an answer. They may be at most a share of the requests in flight
that are not being retried, so that retries add at most that share to the load, however many requests fail (Envoy's
retry_budget counts retries among the requests too, and so lets through a quarter where a fifth was asked for). A
service with little traffic has a minimum.
"""

from __future__ import annotations

from remora.model.policies import RetryBudget


class Budget:
    """Of one cluster."""

    __slots__ = ("_config", "retrying", "waiting")

    def __init__(self, config: RetryBudget) -> None:
        self._config = config
        self.retrying = 0
        """Requests that are being retried."""
        self.waiting = 0
        """Those of them that have no attempt in flight now."""

    def configure(self, config: RetryBudget) -> None:
        self._config = config

    def has_room(self, active: int) -> bool:
        """Whether one more request may be retried; its attempt is over, `active` attempts of others are in flight."""
        others = active + self.waiting - self.retrying
        return self.retrying < max(self._config.minimum, int(self._config.share * others))

    def take(self) -> None:
        """A request begins to be retried, and waits for its turn. Who takes gives back."""
        self.retrying += 1

    def give_back(self) -> None:
        """The retried request is over."""
        self.retrying -= 1
