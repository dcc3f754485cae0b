"""An endpoint as callers experience it: requests in flight, whether it can be connected to, and its pools."""

from __future__ import annotations

import time
from collections.abc import Callable

from remora.model.policies import Caps, Timeouts
from remora.model.snapshot import Endpoint
from remora.sidecar.policy.breaker import REFUSED, BreakerState
from remora.sidecar.policy.ewma import PeakEwma
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.policy.outlier import OutlierState
from remora.sidecar.upstream.guard import Guard
from remora.sidecar.upstream.pool import Pool, UpstreamProtocol
from remora.sidecar.upstream.room import NO_LIMIT, Room

CONNECT_BACKOFF_BASE_S = 0.5
CONNECT_BACKOFF_CAP_S = 30.0
"""gRPC connection backoff (gRFC A6, doc/connection-backoff.md), with a shorter first step."""


BUSY_S = 0.1
"""So long others are preferred after its sidecar has said that it has enough requests: long beside the time of that
answer, so that few requests are turned away, and short beside that of a change of load."""

_DECLARED: dict[str, UpstreamProtocol] = {"http1": "http1", "h2": "h2", "grpc": "h2"}


class Traffic:
    """What the endpoints of one cluster have in common: their requests in flight and connections, and who hears of
    failures."""

    __slots__ = ("active", "asks_from", "counts", "on_failure", "room")

    def __init__(self, on_failure: Callable[[UpstreamEndpoint], None]) -> None:
        self.active = 0
        """Attempts in flight."""
        self.asks_from = NO_LIMIT
        """With so many in flight, the cluster is asked before another attempt."""
        self.room = Room(Caps())
        self.counts = False
        """Whether successes and failures are counted, for success rates."""
        self.on_failure = on_failure
        """Called with the endpoint at which an attempt failed."""


class UpstreamEndpoint:
    """One endpoint of a cluster. Survives snapshots for as long as its address and protocol stay the same."""

    __slots__ = (
        "_connect_failures",
        "_pools",
        "_timeouts",
        "_traffic",
        "active",
        "check_fault",
        "endpoint",
        "ewma",
        "guard",
        "outlier",
        "passed_over_until",
        "weight",
        "well_since",
    )

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, traffic: Traffic) -> None:
        self.endpoint = endpoint
        self._traffic = traffic
        self.active = 0
        """Attempts in flight."""
        self.outlier = OutlierState()
        self.check_fault = ""
        """What its health checks say is wrong; empty: nothing."""
        self.guard: Guard | None = None
        """Its breaker, or the one of the whole cluster."""
        self.weight = max(1, endpoint.weight)
        """For balancers: less than its own in slow start."""
        self.ewma: PeakEwma | None = None
        """Set where peak EWMA chooses: somebody has to measure how long answers take."""
        self.well_since: float | None = None
        """On the monotonic clock; None: it is not well, or has not been looked at yet."""
        self.passed_over_until = 0.0
        """On the monotonic clock: until then others are preferred."""
        self._connect_failures = 0
        self._timeouts = timeouts
        self._pools: dict[UpstreamProtocol, Pool] = {}

    @property
    def connections(self) -> int:
        """Open connections, of all protocols."""
        return sum(pool.connections for pool in self._pools.values())

    @property
    def name(self) -> str:
        return self.endpoint.id

    @property
    def own_breaker(self) -> BreakerState | None:
        """The state of its own breaker; None: it has none."""
        return self.guard.state if self.guard is not None and self.guard.endpoint else None

    @property
    def is_unreachable(self) -> bool:
        """Whether the last connect failed."""
        return self._connect_failures > 0

    @property
    def takes_attempts(self) -> bool:
        """Whether its breaker lets one through now."""
        return self.guard is None or self.guard.lets_through

    @property
    def is_well(self) -> bool:
        """Whether nothing speaks against it: neither itself, nor what we have seen of it, nor its checks."""
        return self.endpoint.healthy and not self.outlier.ejected_until and not self.check_fault

    @property
    def key(self) -> bytes:
        """What it is known by on all rings: a new start at the same place changes nothing."""
        return f"{self.endpoint.address}:{self.endpoint.port}".encode()

    def begin(self) -> int:
        """An attempt begins. Who begins one ends it, with the ticket that this gives."""
        self.active += 1
        self._traffic.active += 1
        guard = self.guard
        return REFUSED if guard is None else guard.begin()

    def judge(self, ticket: int, outcome: Outcome) -> None:
        """It is known how an attempt goes. It will be ended with REFUSED in place of its ticket."""
        if ticket != REFUSED and self.guard is not None:
            self.guard.end(ticket, outcome)

    def on_answering(self, ticket: int) -> int:
        """The answer to an attempt has begun, and goes on; gives the ticket that it is ended with."""
        return ticket if self.guard is None else self.guard.on_answering(ticket)

    def on_busy(self) -> None:
        """It has enough requests."""
        self.passed_over_until = max(self.passed_over_until, time.monotonic() + BUSY_S)

    def end_well(self, ticket: int) -> None:
        """An attempt is over, and speaks for it."""
        self.active -= 1
        traffic = self._traffic
        traffic.active -= 1
        if traffic.counts or self.outlier.failures:
            self.outlier.on_success()
        if ticket != REFUSED:
            self.judge(ticket, Outcome.OK)

    def end(self, ticket: int, outcome: Outcome) -> None:
        """An attempt is over."""
        if outcome is Outcome.OK:
            self.end_well(ticket)
            return
        self.judge(ticket, outcome)
        self.active -= 1
        self._traffic.active -= 1
        if outcome is Outcome.FAILED:
            self._traffic.on_failure(self)

    def pool(self, downstream: UpstreamProtocol) -> Pool:
        """The pool for a request that came by `downstream`; an endpoint that declares a protocol gets that one, but
        bytes that nobody reads into stay such."""
        protocol = "tcp" if downstream == "tcp" else _DECLARED.get(self.endpoint.protocol, downstream)
        pool = self._pools.get(protocol)
        if pool is None:
            target, timeouts = self.endpoint, self._timeouts
            connect_s, idle_s = timeouts.connect_s, timeouts.keep_alive_s
            pool = Pool(target.address, target.port, protocol, connect_s, self._on_connect, idle_s, self._traffic.room)
            self._pools[protocol] = pool
        return pool

    def is_same_place(self, endpoint: Endpoint) -> bool:
        """Whether connections to this one serve for `endpoint`."""
        own = self.endpoint
        return (own.address, own.port, own.protocol) == (endpoint.address, endpoint.port, endpoint.protocol)

    def update(self, endpoint: Endpoint, timeouts: Timeouts) -> None:
        """Take over what a newer snapshot says of the same place."""
        self.endpoint = endpoint
        if timeouts != self._timeouts:
            self._timeouts = timeouts
            for pool in self._pools.values():
                pool.configure(timeouts.connect_s, timeouts.keep_alive_s)

    def drain(self) -> None:
        for pool in self._pools.values():
            pool.drain()

    def abort(self) -> None:
        for pool in self._pools.values():
            pool.abort()

    def _on_connect(self, ok: bool) -> None:
        if ok:
            self._connect_failures = 0
            self.passed_over_until = 0.0
            return
        backoff = min(CONNECT_BACKOFF_CAP_S, CONNECT_BACKOFF_BASE_S * 2**self._connect_failures)
        if backoff < CONNECT_BACKOFF_CAP_S:
            self._connect_failures += 1
        self.passed_over_until = time.monotonic() + backoff
