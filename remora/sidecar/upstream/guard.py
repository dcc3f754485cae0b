"""Breakers at work: one for a cluster, or one for each of its endpoints. Nothing is asked on a request's way while they
are closed: what they do not let through is left out by the cluster when their state changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from remora.model.policies import Breaker
from remora.sidecar.policy.breaker import REFUSED, BreakerState, CircuitBreaker
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.telemetry.shadow import Shadow

log = logging.getLogger(__name__)


class Guard:
    """One breaker. It hears of each attempt, and tells when what it lets through is different."""

    __slots__ = (
        "_admits",
        "_breaker",
        "_metrics",
        "_on_change",
        "_service",
        "_shadow",
        "_state",
        "_timer",
        "_what",
        "config",
        "endpoint",
    )

    def __init__(
        self, config: Breaker, service: str, endpoint: str, metrics: Metrics, on_change: Callable[[], None]
    ) -> None:
        """`endpoint` is empty for that of a whole cluster."""
        self.config = config
        self.endpoint = endpoint
        self._breaker = CircuitBreaker(config)
        self._service = service
        self._what = f"{service}: the breaker of endpoint {endpoint}" if endpoint else f"{service}: the breaker"
        self._metrics = metrics
        self._shadow = Shadow(service, "breaker", metrics)
        self._on_change = on_change
        self._admits = True
        self._state = BreakerState.CLOSED
        """As it was told last."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def lets_through(self) -> bool:
        """Whether the next attempt may go. In shadow mode all may."""
        return self._admits or self.config.shadow

    @property
    def wait_s(self) -> float:
        """How long until it lets something through again, at most."""
        return self._breaker.retry_after_s(time.monotonic())

    def configure(self, config: Breaker) -> None:
        """Go by other numbers from now on, of the same kind."""
        self.config = config
        self._breaker.configure(config)

    def begin(self) -> int:
        """An attempt begins; gives the ticket that it is ended with."""
        breaker = self._breaker
        now = time.monotonic()
        ticket = breaker.admit(now)
        if breaker.state is not BreakerState.CLOSED or self._state is not BreakerState.CLOSED:
            if ticket == REFUSED and self.config.shadow:
                self._shadow.note(now, f"{self._what} is {breaker.state.value}")
            self._look(now)
        return ticket

    def on_answering(self, ticket: int) -> int:
        """The attempt's answer has begun, and goes on; gives the ticket that it is ended with."""
        return ticket if self._state is BreakerState.CLOSED else self._breaker.on_answering(ticket)

    def end(self, ticket: int, outcome: Outcome) -> None:
        """The attempt is over, or so far that it is known how it goes."""
        if ticket == REFUSED:
            return
        breaker, now = self._breaker, time.monotonic()
        if outcome is Outcome.OK:
            breaker.on_success(ticket, now)
        elif outcome is Outcome.FAILED:
            breaker.on_failure(ticket, now)
        else:
            breaker.on_dropped(ticket)
        if breaker.state is not BreakerState.CLOSED or self._state is not BreakerState.CLOSED:
            self._look(now)

    def close(self) -> None:
        """Change no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, now: float) -> None:
        """Tell of what has changed. All of it goes by one `now`: the time may be over between two looks at the clock,
        and nobody would wake what seems to be awake."""
        breaker, before = self._breaker, self._state
        breaker.wake(now)
        state = breaker.state
        admits = breaker.would_admit(now)
        if state is not before:
            self._state = state
            self._metrics.count_breaker(self._service, state.value)
            level = logging.WARNING if state is BreakerState.OPEN else logging.INFO
            log.log(level, "%s is %s%s", self._what, state.value, " (shadow: it only counts)" * self.config.shadow)
        self._wake_later(breaker.retry_after_s(now))
        if admits is not self._admits:
            self._admits = admits
            self._on_change()

    def _wake_later(self, wait_s: float) -> None:
        self.close()
        if wait_s:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._look(time.monotonic())


class Guarded(Protocol):
    """An endpoint."""

    guard: Guard | None

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Guarded)


class Breakers:
    """Those of one cluster."""

    __slots__ = ("_config", "_guard", "_metrics", "_on_change", "_service")

    def __init__(self, service: str, metrics: Metrics, on_change: Callable[[], None]) -> None:
        """`on_change`: something is let through that was not, or the other way round."""
        self._service = service
        self._metrics = metrics
        self._on_change = on_change
        self._config: Breaker | None = None
        self._guard: Guard | None = None
        """That of all endpoints together."""

    @property
    def state(self) -> BreakerState | None:
        """Of all endpoints together; None: there is no such breaker."""
        return None if self._guard is None else self._guard.state

    def update(self, config: Breaker | None, endpoints: Sequence[Guarded]) -> None:
        """Guard these, those that are new too. Breakers of the same kind keep their state."""
        before, self._config = self._config, config
        if config is None or before is None or (config.kind, config.per_endpoint) != (before.kind, before.per_endpoint):
            self._let_go(endpoints)
        if config is None:
            return
        if not config.per_endpoint:
            self._guard = self._made(self._guard, config, "")
        for endpoint in endpoints:
            endpoint.guard = self._guard or self._made(endpoint.guard, config, endpoint.name)

    def passed(self, endpoints: Sequence[E]) -> Sequence[E]:
        """Those of `endpoints` at which an attempt may be made now."""
        if self._guard is not None:
            return endpoints if self._guard.lets_through else ()
        if self._config is None:
            return endpoints
        return [endpoint for endpoint in endpoints if endpoint.guard is None or endpoint.guard.lets_through]

    def wait_s(self, endpoints: Sequence[Guarded]) -> float:
        """How long until something is let through again, at most."""
        return min((endpoint.guard.wait_s for endpoint in endpoints if endpoint.guard is not None), default=0.0)

    def close(self, endpoints: Sequence[Guarded]) -> None:
        """Guard nothing any more."""
        self._config = None
        self._let_go(endpoints)

    def forget(self, endpoint: Guarded) -> None:
        """It is gone: how its last attempts end says nothing of those that are there."""
        if endpoint.guard is self._guard:
            endpoint.guard = None
        else:
            _release(endpoint)

    def _let_go(self, endpoints: Sequence[Guarded]) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        for endpoint in endpoints:
            _release(endpoint)

    def _made(self, guard: Guard | None, config: Breaker, endpoint: str) -> Guard:
        if guard is None:
            return Guard(config, self._service, endpoint, self._metrics, self._on_change)
        guard.configure(config)
        return guard


def _release(endpoint: Guarded) -> None:
    if endpoint.guard is not None:
        endpoint.guard.close()
        endpoint.guard = None
