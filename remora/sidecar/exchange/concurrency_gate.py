"""Adaptive concurrency as a gate, before the app: no more requests in flight than it stands.

As in Envoy, what is over the limit gets 503 (gRPC: UNAVAILABLE) without Retry-After: another instance may have room
now, and callers are to try it. Unlike in Envoy, answers of 5xx say nothing of latency: an app that fails at once is not
quick. Tunnels take a place until they are open.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from remora.model.base import Origin
from remora.model.policies import AdaptiveConcurrency
from remora.model.snapshot import Service
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.gate import Account, Gate, PlainGate, Stopped, Verdict
from remora.sidecar.exchange.gates import GateMaker
from remora.sidecar.policy.concurrency import ConcurrencyLimit
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.telemetry.shadow import Shadow
from remora.sidecar.wire.heads import RequestHead


class ConcurrencyGate(PlainGate):
    """Of one app."""

    def __init__(
        self, service: str, config: AdaptiveConcurrency, metrics: Metrics, origin: Origin | None = None
    ) -> None:
        self.config = config
        self._origin = origin
        self._service = service
        self._limit = ConcurrencyLimit(config, time.monotonic(), random.random())
        self._shadow = Shadow(service, "concurrency", metrics)

    @property
    def limit(self) -> int:
        return self._limit.limit

    @property
    def in_flight(self) -> int:
        return self._limit.in_flight

    def configure(self, config: AdaptiveConcurrency, origin: Origin | None) -> None:
        """Go on with `config`; the limit stays, within its bounds."""
        self.config = config
        self._origin = origin
        self._limit.configure(config)

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:  # noqa: ARG002
        limit = self._limit
        if limit.admit():
            return None
        failure = failures.CONCURRENCY_LIMIT
        detail = failure.sentence.format(service=self._service, limit=limit.limit)
        if self.config.shadow:
            self._shadow.note(now, detail)
            limit.admit_anyway()
            return None
        return Stopped(failure, detail)

    def leave(self, outcome: Outcome, now: float, seconds: float) -> None:
        if outcome is Outcome.OK:
            self._limit.on_answer(now, seconds)
        else:
            self._limit.on_dropped()

    def explain(self, head: RequestHead) -> Sequence[Account]:  # noqa: ARG002
        config, limit = self.config, self._limit
        says = [f"{config.minimum} to {config.maximum} requests in flight, by how latency grows"]
        if config.shadow:
            says.append("in shadow mode: only counted")
        account = Account(
            "concurrency", tuple(says), self._origin, f"the limit is {limit.limit}, {limit.in_flight} are in flight"
        )
        if limit.in_flight < limit.limit or config.shadow:
            return [account]
        failure = failures.CONCURRENCY_LIMIT
        detail = failure.sentence.format(service=self._service, limit=limit.limit)
        return [account.stopping(Stopped(failure, detail))]


def concurrency_maker(metrics: Metrics) -> GateMaker:
    """Makes these gates."""

    def make(service: Service, before: Gate | None) -> Gate | None:
        config = service.policy.concurrency
        if config is None:
            return None
        if isinstance(before, ConcurrencyGate):
            before.configure(config, service.policy.origin)
            return before
        return ConcurrencyGate(service.name, config, metrics, service.policy.origin)

    return make
