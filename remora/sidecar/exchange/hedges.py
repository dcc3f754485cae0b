"""A hedged request's attempts beside each other (Dean and Barroso, "The Tail at Scale", 2013; gRFC A6).

While an answer keeps its caller waiting, the request is sent to another endpoint too, and again after as long. The
first answer that is worth forwarding counts, the others are given up. Each attempt beside the first takes a place in
the retry budget: hedges add no more load than retries may. Only requests whose policy says so have this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from remora.model.policies import Hedging
from remora.sidecar.exchange.try_timer import TryTimer
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.policy.retry_budget import Budget

if TYPE_CHECKING:
    from remora.sidecar.exchange.attempt import Attempt


class Hedges:
    """Those of one request."""

    __slots__ = ("_budget", "left", "policy", "rivals", "timer")

    def __init__(self, policy: Hedging, budget: Budget, on_due: Callable[[], None]) -> None:
        self.policy = policy
        self.left = policy.attempts
        """How many more may be made."""
        self._budget = budget
        self.rivals: list[Attempt] = []
        """In flight, beside the exchange's own attempt. For each a place in the budget is taken."""
        self.timer = TryTimer(on_due)
        """Until the next one."""

    def add(self, attempt: Attempt) -> None:
        """It is about to start."""
        self._budget.take()
        self._budget.spend(attempt.began)
        self.left -= 1
        self.rivals.append(attempt)

    def keep(self, rivals: list[Attempt]) -> None:
        """Only these are left."""
        for _ in range(len(self.rivals) - len(rivals)):
            self._budget.give_back()
        self.rivals = rivals

    def give_up(self, outcome: Outcome) -> None:
        """None of them is needed any more."""
        rivals = self.rivals
        self.keep([])
        for rival in rivals:
            rival.give_up(outcome)
