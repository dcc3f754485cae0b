"""JSON requests that no method is called for: what they are told, and where they are counted."""

from __future__ import annotations

import dataclasses
import time

from remora.sidecar.telemetry.metrics import STATUS_CLASSES, Metrics
from remora.sidecar.translate.status import GrpcStatus

_NOT_BOUND = ("json_not_bound", "NR")
_OVERFLOW = ("json_overflow", "UO")
_BAD_REQUEST = ("json_request", "DPE")
_KINDS = {404: _NOT_BOUND, 405: _NOT_BOUND, 501: _NOT_BOUND, 503: _OVERFLOW}
"""(code, Envoy's flag of the kind) by HTTP status."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A request that no method is called for."""

    http_status: int
    status: GrpcStatus
    fields: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def code(self) -> str:
        """For `x-mesh-error`."""
        return _KINDS.get(self.http_status, _BAD_REQUEST)[0]

    @property
    def flag(self) -> str:
        """For the metrics."""
        return _KINDS.get(self.http_status, _BAD_REQUEST)[1]


class Refusals:
    """Counts them as requests to `service`: no exchange does."""

    __slots__ = ("_metrics", "_service")

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics = metrics
        self._service = service

    def count(self, refusal: Refusal, method: bytes, started: float, request_bytes: int) -> None:
        """One more; `started`: when it came, by time.perf_counter."""
        status = STATUS_CLASSES[refusal.http_status // 100]
        labels = ("inbound", self._service, "", "", method.decode("latin-1"), status, refusal.flag)
        series = self._metrics.requests.get(labels) or self._metrics.new_series(labels)
        series.observe(time.perf_counter() - started, request_bytes, 0)
