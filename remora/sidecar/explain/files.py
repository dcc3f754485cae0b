"""Explanations of what is in a file, without a sidecar that runs on it."""

from __future__ import annotations

from pathlib import Path

from remora.documents.load import load_file
from remora.model.names import ServiceName
from remora.model.snapshot import Service
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.exchange.gate_makers import backend_gates, service_gates
from remora.sidecar.explain.subject import View
from remora.sidecar.listener.outbound import OutboundPolicy
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import policies_of


def view_of_file(file: Path, namespace: str, outbound_policy: OutboundPolicy) -> View:
    """What a sidecar in `namespace` would do that runs on `file`. Raises SnapshotError."""
    snapshot = load_file(file)
    metrics = Metrics()
    by_service, by_backend = service_gates(metrics, faults=True, workers=1), backend_gates(metrics)
    by_service.update(snapshot.services)
    policies = policies_of(snapshot)
    by_backend.update({name: Service(name, policy=policy) for name, policy in policies.items()})

    def gates(service: ServiceName, backend: ServiceName) -> tuple[Gate, ...]:
        return by_service.of(service) + by_backend.of(backend)

    table = RouteTable(snapshot, namespace)
    return View(table, str(file), namespace, outbound_policy, lambda _: None, gates, live=False)
