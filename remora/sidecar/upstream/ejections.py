"""Outlier ejection at work: who of a cluster fails too often is left out for a while (`policy/outlier.py`). An ejection
outlives snapshots, while the endpoint does and the policy allows it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from remora.model.policies import Outlier, SuccessRate
from remora.sidecar.policy.outlier import begin_interval, below_the_others, eject, may_eject, return_due, take_back
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

log = logging.getLogger(__name__)


class Ejections:
    """Those of one cluster."""

    __slots__ = ("_config", "_endpoints", "_judging", "_metrics", "_on_change", "_service", "_waking")

    def __init__(self, service: str, metrics: Metrics, on_change: Callable[[], None]) -> None:
        """`on_change`: somebody was ejected, or has come back."""
        self._service = service
        self._metrics = metrics
        self._on_change = on_change
        self._config = Outlier()
        self._endpoints: Sequence[UpstreamEndpoint] = ()
        self._waking: asyncio.TimerHandle | None = None
        """For the next one that comes back."""
        self._judging: asyncio.TimerHandle | None = None
        """For the end of the interval of success rates."""

    def update(self, config: Outlier, endpoints: Sequence[UpstreamEndpoint]) -> None:
        """Go by these from now on; who chooses among them does so anew afterwards."""
        before, self._config = self._config, config
        self._endpoints = endpoints
        self._keep_to_the_share()
        self._wake_later()
        if config.success_rate != before.success_rate:
            begin_interval([endpoint.outlier for endpoint in endpoints])
            self._stop_judging()
        if self._judging is None:
            self._judge_later()

    def on_failure(self, endpoint: UpstreamEndpoint) -> None:
        """An attempt failed there."""
        config, state = self._config, endpoint.outlier
        state.failures += 1
        state.failed += 1
        if config.consecutive and state.failures >= config.consecutive and not state.ejected_until:
            self._eject(endpoint)

    def close(self) -> None:
        """Change no more."""
        self._stop_judging()
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    def _eject(self, endpoint: UpstreamEndpoint) -> None:
        ejected = sum(1 for other in self._endpoints if other.outlier.ejected_until)
        # Attempts at an endpoint that is gone go on.
        if endpoint not in self._endpoints or not may_eject(self._config, ejected, len(self._endpoints)):
            return
        now = time.monotonic()
        until = eject(self._config, endpoint.outlier, now)
        self._metrics.count_ejection(self._service)
        log.warning("%s: endpoint %s fails and is left out for %g s", self._service, endpoint.endpoint.id, until - now)
        self._on_change()
        self._wake_later()

    # ── coming back ──

    def _keep_to_the_share(self) -> None:
        """There are fewer endpoints than there were, or the policy allows less: who would be back first is."""
        config, now = self._config, time.monotonic()
        is_off = not config.consecutive and config.success_rate is None
        ejected = [endpoint for endpoint in self._endpoints if endpoint.outlier.ejected_until]
        ejected.sort(key=lambda endpoint: endpoint.outlier.ejected_until, reverse=True)
        while ejected and (is_off or not may_eject(config, len(ejected) - 1, len(self._endpoints))):
            take_back(ejected.pop().outlier, now)

    def _wake_later(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        times = [endpoint.outlier.ejected_until for endpoint in self._endpoints if endpoint.outlier.ejected_until]
        if times:
            delay = max(0.0, min(times) - time.monotonic())
            self._waking = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._waking = None
        now = time.monotonic()
        returned = [endpoint for endpoint in self._endpoints if return_due(endpoint.outlier, now)]
        for endpoint in returned:
            log.info("%s: endpoint %s is used again", self._service, endpoint.endpoint.id)
        if returned:
            self._on_change()
        self._wake_later()

    # ── success rates ──

    def _judge_later(self) -> None:
        """Judge at the end of each interval, if that is asked for."""
        rate = self._config.success_rate
        if rate is not None and self._endpoints:
            self._judging = asyncio.get_running_loop().call_later(rate.interval_s, self._judge, rate)

    def _judge(self, rate: SuccessRate) -> None:
        endpoints = self._endpoints
        for index in below_the_others(rate, [endpoint.outlier for endpoint in endpoints]):
            self._eject(endpoints[index])
        self._judging = None
        self._judge_later()

    def _stop_judging(self) -> None:
        if self._judging is not None:
            self._judging.cancel()
            self._judging = None
