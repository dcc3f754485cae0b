from __future__ import annotations

import msgspec
import pytest

from remora.model.names import ServiceName
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot, SnapshotError
from remora.proto.mesh.v1.discovery_pb2 import Delta, Resource
from remora.sidecar.source.delta import decode, named_in

A, B, C = (ServiceName(f"{letter}.default") for letter in "abc")
SET_A = EndpointSet(A, (Endpoint("a-1", "10.0.0.1", 80),))


def resource(kind: Resource.Kind.ValueType, name: str, body: bytes) -> Resource:
    return Resource(kind=kind, name=name, body=body)


def test_parts_go_onto_a_snapshot_and_the_vanished_go() -> None:
    before = Snapshot(1, {A: Service(A), B: Service(B), C: Service(C)}, {B: EndpointSet(B), C: EndpointSet(C)})
    delta = Delta(revision=9, removals=[C])
    delta.upserts.append(resource(Resource.ENDPOINTS, A, msgspec.json.encode(SET_A)))
    assert named_in(delta) == {A}
    after = decode(delta).onto(before, frozenset([B]))
    assert after == Snapshot(9, {A: Service(A)}, {A: SET_A})


def test_a_removal_and_an_upsert_of_one_name_leave_what_was_put() -> None:
    before = Snapshot(1, {A: Service(A)}, {A: EndpointSet(A)})
    delta = Delta(revision=2, removals=[A])
    delta.upserts.append(resource(Resource.ENDPOINTS, A, msgspec.json.encode(SET_A)))
    assert decode(delta).onto(before, frozenset()) == Snapshot(2, {}, {A: SET_A})


def test_a_body_that_cannot_be_read_is_named() -> None:
    delta = Delta(upserts=[resource(Resource.SERVICE, A, b'{"name": 7}')])
    with pytest.raises(SnapshotError, match=r"SERVICE a\.default cannot be read"):
        decode(delta)


def test_kinds_of_a_newer_control_are_passed_over() -> None:
    delta = Delta(revision=3)
    delta.upserts.append(resource(7, A, b"\xff"))  # type: ignore[arg-type]
    assert decode(delta).onto(Snapshot(), frozenset()) == Snapshot(3)
