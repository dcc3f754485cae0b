from __future__ import annotations

from pathlib import Path

import pytest

from remora.model.snapshot import SnapshotError
from remora.sidecar.source.static import load_static
from tests.support.push import name

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders}
spec:
  parentRefs: [{group: "", kind: Service, name: orders}]
  rules:
    - backendRefs: [{name: orders}]
"""


def test_a_file_of_documents_is_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ROUTE)
    snapshot = load_static(path)
    assert snapshot.services[name("orders")].routes[0].backends[0].service == name("orders")


def test_a_bad_file_is_a_snapshot_error(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ROUTE.replace("rules:", "rulez:"))
    with pytest.raises(SnapshotError, match="rulez"):
        load_static(path)
