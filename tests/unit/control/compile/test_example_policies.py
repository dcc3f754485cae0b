"""The example policies, written into a mesh: control takes each document, and what it pushes compiles in a sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from remora.documents.parse import parse_text
from remora.model.snapshot import Service, Snapshot
from remora.sidecar.exchange.gate_makers import app_gates, backend_gates, service_gates
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from tests.unit.control.compile.test_catalog import Bench

POLICIES = Path(__file__).parents[4] / "examples" / "policies"


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_taken_and_compiles(path: Path) -> None:
    bench, accepted = Bench(), {}
    for raw in parse_text(path.read_text(), path.name).raws:
        namespace, name = raw["metadata"].get("namespace", "default"), raw["metadata"]["name"]
        changes = bench.put(f"/mesh/dev/config/{raw['kind']}/{namespace}/{name}", json.dumps(raw))
        accepted |= {str(status.key): status.accepted for status in changes.statuses}
    assert accepted
    assert all(accepted.values())
    services = {service: bench.catalog.service(service) for service in bench.catalog.names()}
    pushed = Snapshot(1, {name: service for name, service in services.items() if isinstance(service, Service)})
    assert pushed.services
    assert any(
        service.routes or service.policy.origin or service.limits or service.faults
        for service in pushed.services.values()
    )
    assert RouteTable(pushed, "default").services.keys() == pushed.services.keys()
    metrics = Metrics()
    for gates in (
        service_gates(metrics, faults=True, workers=1),
        backend_gates(metrics),
        app_gates(metrics, workers=1),
    ):
        gates.update(pushed.services)
