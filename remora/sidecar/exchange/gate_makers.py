"""Which gates requests pass, and in which order: the one place that knows all kinds of them."""

from __future__ import annotations

from remora.model.snapshot import Service
from remora.sidecar.exchange.admission_gate import admission_maker
from remora.sidecar.exchange.concurrency_gate import concurrency_maker
from remora.sidecar.exchange.faults import FaultGates
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.exchange.gates import GateMaker, Gates
from remora.sidecar.telemetry.metrics import Metrics


def service_gates(metrics: Metrics, *, faults: bool, workers: int) -> Gates:
    """At the caller, by the service that is asked for: faults first, then limits that callers enforce. `workers`:
    processes that share these limits."""
    makers: tuple[GateMaker, ...] = (FaultGates(metrics).make,) if faults else ()
    return Gates(
        (*makers, RateLimits(metrics, workers, at_callers=True).make, ExternalLimits(metrics, at_callers=True).make)
    )


def backend_gates(metrics: Metrics) -> Gates:
    """At the caller, by the service that the route chose: what protects its instances."""
    makers: tuple[GateMaker, ...] = (admission_maker(metrics),)
    return Gates(makers)


def app_gates(metrics: Metrics, *, workers: int) -> Gates:
    """Before the app, by its own service: who is over a limit is refused before he takes a place among those in
    flight. `workers`: processes that share these limits."""
    return Gates(
        (
            RateLimits(metrics, workers, at_callers=False).make,
            ExternalLimits(metrics, at_callers=False).make,
            concurrency_maker(metrics),
        )
    )


class ExternalLimits:
    """Makes the gates of limits that a rate limit service knows."""

    __slots__ = ("_at_callers", "_metrics")

    def __init__(self, metrics: Metrics, *, at_callers: bool) -> None:
        self._metrics = metrics
        self._at_callers = at_callers

    def make(self, service: Service, before: Gate | None) -> Gate | None:
        """Of those that are enforced on this side."""
        if not service.limits.external:
            return None
        limits = service.limits.enforced(at_callers=self._at_callers).external
        if not limits:
            return None
        # Most sidecars have none, and gRPC weighs.
        from remora.sidecar.exchange.external_limit import make_external_limit_gate

        return make_external_limit_gate(limits, before, self._metrics)


class RateLimits:
    """Makes the gates of rate limits."""

    __slots__ = ("_at_callers", "_metrics", "_workers")

    def __init__(self, metrics: Metrics, workers: int, *, at_callers: bool) -> None:
        self._metrics = metrics
        self._workers = workers
        self._at_callers = at_callers

    def make(self, service: Service, before: Gate | None) -> Gate | None:
        """Of those that are enforced on this side. Raises RegexError."""
        if not service.limits:
            return None
        limits = service.limits.enforced(at_callers=self._at_callers).limits
        if not limits:
            return None
        # Most sidecars have none.
        from remora.sidecar.exchange.rate_limit import make_rate_limit_gate

        return make_rate_limit_gate(limits, before, self._metrics, self._workers)
