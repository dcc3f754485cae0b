"""A circuit breaker: stops sending to what fails, and tries again with a few probes. Pure: the time is an argument.

            too many failures              slept
    CLOSED ──────────────────► OPEN ──────────────► HALF_OPEN
       ▲                         ▲     a probe fails   │   │
       │                         └─────────────────────┘   │
       └──────────────── all probes succeed ───────────────┘

Too many: by ratio over a rolling window, with a volume below which nothing is judged (hystrix), or in a row
(gobreaker). What was let through in one state says nothing about a later one: tickets carry a generation (gobreaker).
Unlike both, a breaker does not wait for ever for its probes: after another sleep a probe whose answer still goes on, as
streams do, has gone well, and when one hangs, others go.
"""

from __future__ import annotations

import enum

from remora.model.policies import Breaker
from remora.sidecar.policy.rolling import RollingCounts

_ROUNDING = 1e-6
"""7 of 100 are 7 %, of floats too."""

REFUSED = -1
"""The ticket of a request that may not go."""

_ANSWERING = 1
"""This bit of a ticket: the answer has begun. Generations are even."""


class BreakerState(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Ask `admit` before, and give its ticket to one of `on_success`, `on_failure` and `on_dropped` after."""

    __slots__ = (
        "_config",
        "_counts",
        "_generation",
        "_in_a_row",
        "_probes_answering",
        "_probes_left",
        "_probes_won",
        "_until",
        "state",
    )

    def __init__(self, config: Breaker) -> None:
        self._config = config
        self._counts = RollingCounts(config.window_s)
        self._in_a_row = 0
        self._generation = 0
        self._until = 0.0
        """When OPEN ends; when HALF_OPEN has waited long enough for its probes, the last of which counts."""
        self._probes_left = 0
        self._probes_won = 0
        self._probes_answering = 0
        """Those whose answers go on, well so far."""
        self.state = BreakerState.CLOSED
        """As of the last call; an OPEN that has slept turns HALF_OPEN when a request asks, or by `wake`."""

    def configure(self, config: Breaker) -> None:
        """Go by other numbers from now on, of the same kind."""
        if config.window_s != self._config.window_s:
            self._counts = RollingCounts(config.window_s)
        self._config = config

    def wake(self, now: float) -> None:
        """Be in the state that the time says."""
        if self.state is BreakerState.CLOSED or now < self._until:
            return
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
            self._generation += 2
            self._probes_won = self._probes_answering = 0
        elif self._probes_won + self._probes_answering >= self._config.probes:
            self._close()
            return
        self._probes_left = self._config.probes
        self._until = now + self._config.sleep_s

    def admit(self, now: float) -> int:
        """A ticket, or REFUSED."""
        self.wake(now)
        if self.state is BreakerState.CLOSED:
            return self._generation
        if self.state is BreakerState.OPEN or self._probes_left == 0:
            return REFUSED
        self._probes_left -= 1
        self._until = now + self._config.sleep_s
        return self._generation

    def would_admit(self, now: float) -> bool:
        """What `admit` would say, without letting anything through."""
        if self.state is BreakerState.CLOSED or now >= self._until:
            return True
        return self.state is BreakerState.HALF_OPEN and self._probes_left > 0

    def retry_after_s(self, now: float) -> float:
        """How long to wait for the next chance, at most; 0: now."""
        return 0.0 if self.would_admit(now) else self._until - now

    def on_answering(self, ticket: int) -> int:
        """The answer has begun, and goes on; gives the ticket in place of this one."""
        if ticket != self._generation or self.state is not BreakerState.HALF_OPEN:
            return ticket
        self._probes_answering += 1
        return ticket | _ANSWERING

    def on_success(self, ticket: int, now: float) -> None:
        """The request was answered well."""
        if ticket & ~_ANSWERING != self._generation:
            return
        if self.state is BreakerState.CLOSED:
            self._in_a_row = 0
            if self._config.kind == "error_ratio":
                self._counts.add(now, good=1)
            return
        self._probes_answering -= ticket & _ANSWERING
        self._probes_won += 1
        if self._probes_won >= self._config.probes:
            self._close()

    def on_failure(self, ticket: int, now: float) -> None:
        """The request failed."""
        if ticket & ~_ANSWERING != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN or self._is_too_much(now):
            self._open(now)

    def on_dropped(self, ticket: int) -> None:
        """Nobody will know how the request went; a probe's place is free again."""
        if ticket & ~_ANSWERING == self._generation and self.state is BreakerState.HALF_OPEN:
            self._probes_answering -= ticket & _ANSWERING
            self._probes_left = min(self._probes_left + 1, self._config.probes)

    def _is_too_much(self, now: float) -> bool:
        config = self._config
        if config.kind == "consecutive":
            self._in_a_row += 1
            return self._in_a_row >= config.failures
        counts = self._counts
        counts.add(now, bad=1)
        return counts.total >= config.volume and counts.bad >= config.error_share * counts.total - _ROUNDING

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._until = now + self._config.sleep_s
        self._generation += 2

    def _close(self) -> None:
        self.state = BreakerState.CLOSED
        self._generation += 2
        self._in_a_row = 0
        self._counts.clear()
