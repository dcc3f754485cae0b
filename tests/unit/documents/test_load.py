"""Files → Snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from remora.documents.durations import seconds
from remora.documents.load import conflicts, load_file
from remora.documents.parse import parse_text
from remora.model.names import service_name
from remora.model.policies import RetryPolicy, Timeouts
from remora.model.snapshot import SnapshotError

TEXT = """
apiVersion: mesh.remora.dev/v1alpha1
kind: ServiceEndpoints
metadata: {name: reviews}
spec:
  service: reviews
  endpoints:
  - {address: 10.0.0.1, port: 80, version: v1, zone: a, weight: 5, protocol: http1}
  - {address: "::1", port: 81, version: v2}
---
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews}
spec:
  targetRefs: [{kind: Service, group: "", name: reviews}]
  balancer: {type: Random}
  retry: {attempts: 1, grpcStatuses: [UNAVAILABLE, CANCELLED], safeMethods: [POST]}
  timeouts: {request: 0s, connect: 100ms}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  rules: [{backendRefs: [{name: reviews-v1}]}]
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_becomes_a_snapshot(tmp_path: Path) -> None:
    snapshot = load_file(write(tmp_path / "mesh.yaml", TEXT))
    reviews, v1, v2 = service_name("reviews"), service_name("reviews-v1"), service_name("reviews-v2")
    assert set(snapshot.services) == set(snapshot.endpoints) == {reviews, v1, v2}
    assert [endpoint.id for endpoint in snapshot.endpoints[reviews].endpoints] == ["10.0.0.1:80", "[::1]:81"]
    assert [endpoint.address for endpoint in snapshot.endpoints[v2].endpoints] == ["::1"]
    policy = snapshot.services[v1].policy
    assert policy.balancer.kind == "random"
    assert policy.retry == RetryPolicy(1, grpc_statuses=(14, 1), safe_methods=("POST",))
    assert policy.timeouts == Timeouts(connect_s=0.1, request_s=0.0, idle_s=300.0)
    assert snapshot.services[reviews].routes[0].backends[0].service == v1


def test_a_service_of_the_versions_name_wins(tmp_path: Path) -> None:
    more = """---
apiVersion: mesh.remora.dev/v1alpha1
kind: ServiceEndpoints
metadata: {name: v2}
spec: {service: reviews-v2, endpoints: [{address: 10.9.9.9, port: 1}]}
"""
    snapshot = load_file(write(tmp_path / "mesh.yaml", TEXT + more))
    assert [e.address for e in snapshot.endpoints[service_name("reviews-v2")].endpoints] == ["10.9.9.9"]
    assert snapshot.services[service_name("reviews-v2")].policy.balancer.kind == "least_request"


def test_each_fault_is_a_line_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mesh.yaml", TEXT.replace("Random", "Rando").replace("reviews-v1", "Reviews"))
    with pytest.raises(SnapshotError) as caught:
        load_file(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert "TrafficPolicy default/reviews: spec.balancer.type" in lines[0]


def test_two_policies_for_a_service_are_refused(tmp_path: Path) -> None:
    policy = TEXT.split("---")[1]
    path = write(tmp_path / "mesh.yaml", f"{TEXT}---{policy.replace('{name: reviews}', '{name: second}', 1)}")
    with pytest.raises(SnapshotError, match=r"TrafficPolicy default/second: spec.targetRefs\[0\]: .*default/reviews"):
        load_file(path)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no such file"):
        load_file(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"\xff")
    with pytest.raises(SnapshotError, match="not UTF-8"):
        load_file(bad)


@pytest.mark.parametrize(("text", "expected"), [("0s", 0), ("100ms", 0.1), ("1h2m3s4ms", 3723.004)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


def test_a_grant_may_be_elsewhere_unless_all_is_known() -> None:
    parsed = parse_text(TEXT.replace("[{name: reviews-v1}]", "[{name: reviews-v1, namespace: shop}]"))
    assert conflicts(parsed.documents, all_known=False) == ()
    (error,) = conflicts(parsed.documents)
    assert "no ReferenceGrant there allows HTTPRoutes of default" in error.message
