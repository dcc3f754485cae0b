"""Which gates requests pass, and in which order: the one place that knows all kinds of them."""

from __future__ import annotations

from remora.sidecar.exchange.admission_gate import admission_maker
from remora.sidecar.exchange.concurrency_gate import concurrency_maker
from remora.sidecar.exchange.faults import FaultGates
from remora.sidecar.exchange.gates import GateMaker, Gates
from remora.sidecar.telemetry.metrics import Metrics


def service_gates(metrics: Metrics, *, faults: bool) -> Gates:
    """At the caller, by the service that is asked for: faults first, then limits that callers enforce."""
    makers: tuple[GateMaker, ...] = (FaultGates(metrics).make,) if faults else ()
    return Gates(makers)


def backend_gates(metrics: Metrics) -> Gates:
    """At the caller, by the service that the route chose: what protects its instances."""
    makers: tuple[GateMaker, ...] = (admission_maker(metrics),)
    return Gates(makers)


def app_gates(metrics: Metrics) -> Gates:
    """Before the app, by its own service: who is over a limit is refused before he takes a place among those in
    flight."""
    makers: tuple[GateMaker, ...] = (concurrency_maker(metrics),)
    return Gates(makers)
