"""What a policy in shadow mode would have refused: counted each time, logged now and then."""

from __future__ import annotations

import logging

from remora.sidecar.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class Shadow:
    """Of one policy of one service."""

    __slots__ = ("_metrics", "_name", "_policy", "_quiet_until", "_service", "_unsaid")

    def __init__(self, service: str, policy: str, metrics: Metrics, name: str = "") -> None:
        """`policy` is the name of its field, such as `breaker`; `name` tells it from others of its kind."""
        self._service = service
        self._policy = policy
        self._name = f"{policy} {name}".strip()
        self._metrics = metrics
        self._quiet_until = 0.0
        self._unsaid = 0

    def note(self, now: float, detail: str) -> None:
        """A request goes on that would have been refused, for what `detail` says; `now` is of the monotonic clock."""
        self._metrics.count_shadowed(self._service, self._policy)
        self._unsaid += 1
        if now < self._quiet_until:
            return
        message = "%s: %s, in shadow mode, would have refused %d requests since the last line; now: %s"
        log.warning(message, self._service, self._name, self._unsaid, detail)
        self._quiet_until = now + LOG_EVERY_S
        self._unsaid = 0
