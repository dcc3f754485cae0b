"""What is remembered of a request's attempts from the second on. Most requests have one attempt and never need it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remora.sidecar.policy.retry_budget import Budget
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import Fields, field_value

PREVIOUS_ATTEMPTS = b"grpc-previous-rpc-attempts"
_MAX_DIGITS = 6

MAX_RESENDS = 3
"""How often a request is sent again because the connection was closing. Each time on another, so once is the rule."""


def with_one_more_attempt(fields: Fields) -> Fields:
    """A gRPC call's fields for its next attempt: they say how many there were before it (gRFC A6). A client that
    retries by itself has said so already; ours come on top."""
    said = field_value(fields, PREVIOUS_ATTEMPTS) or b""
    made = int(said) + 1 if said.isdigit() and len(said) <= _MAX_DIGITS else 1
    others = [field for field in fields if field[0].lower() != PREVIOUS_ATTEMPTS]
    return [*others, (PREVIOUS_ATTEMPTS, b"%d" % made)]


class Repeats:
    """Made when the first attempt has come to nothing."""

    __slots__ = ("_budget", "handle", "may_be_executed", "resends", "retries", "tried")

    def __init__(self) -> None:
        self._budget: Budget | None = None
        """From which this request has taken its place."""
        self.tried: tuple[UpstreamEndpoint, ...] = ()
        """Where attempts have failed."""
        self.may_be_executed = False
        """An attempt came to nothing in a way that does not prove the contrary."""
        self.retries = 0
        """Attempts that the policy's retries were spent on."""
        self.resends = 0
        """Attempts that cost no retry: nothing of the request had arrived."""
        self.handle: asyncio.TimerHandle | None = None
        """Of the wait before the next one."""

    def take_place(self, budget: Budget) -> None:
        """From now on the request is one that is being retried, if it is not yet."""
        if self._budget is None:
            self._budget = budget
            budget.take()

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        """Do `then`, which begins the next attempt, after `seconds`."""
        if self._budget is not None:
            self._budget.waiting += 1
        self.retries += 1
        self.handle = asyncio.get_running_loop().call_later(seconds, self._go_on, then)

    def _go_on(self, then: Callable[[], None]) -> None:
        self._stop_waiting()
        then()

    def _stop_waiting(self) -> None:
        if self.handle is None:
            return
        self.handle.cancel()
        self.handle = None
        if self._budget is not None:
            self._budget.waiting -= 1

    @property
    def has_place(self) -> bool:
        """Whether the request has its place in the budget already."""
        return self._budget is not None

    def end(self) -> None:
        """The request is over."""
        self._stop_waiting()
        if self._budget is not None:
            self._budget.give_back()
            self._budget = None
