"""From a Delta of control to the next Snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from remora.model.names import ServiceName
from remora.model.snapshot import EndpointSet, Service, Snapshot, SnapshotError
from remora.proto.mesh.v1.discovery_pb2 import Delta, Resource

_SERVICE = msgspec.json.Decoder(Service)
_ENDPOINTS = msgspec.json.Decoder(EndpointSet)


@dataclass(frozen=True, slots=True)
class Parts:
    """A Delta, decoded."""

    revision: int
    services: tuple[Service, ...]
    endpoint_sets: tuple[EndpointSet, ...]
    removed: tuple[ServiceName, ...]

    def onto(self, snapshot: Snapshot, vanished: frozenset[ServiceName]) -> Snapshot:
        """`snapshot` with these parts, without `vanished` services that these parts do not bring back."""
        return snapshot.with_parts(self.revision, self.services, self.endpoint_sets, (*self.removed, *vanished))


def named_in(delta: Delta) -> frozenset[ServiceName]:
    """The services that `delta` brings parts of."""
    return frozenset(ServiceName(resource.name) for resource in delta.upserts)


def decode(delta: Delta) -> Parts:
    """Raises SnapshotError when a body is not what its kind says. Kinds of a newer control are passed over."""
    services: list[Service] = []
    endpoint_sets: list[EndpointSet] = []
    for resource in delta.upserts:
        try:
            if resource.kind == Resource.SERVICE:
                services.append(_SERVICE.decode(resource.body))
            elif resource.kind == Resource.ENDPOINTS:
                endpoint_sets.append(_ENDPOINTS.decode(resource.body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = Resource.Kind.Name(resource.kind)
            raise SnapshotError(f"{kind} {resource.name} cannot be read: {error}") from error
    removed = tuple(map(ServiceName, delta.removals))
    return Parts(delta.revision, tuple(services), tuple(endpoint_sets), removed)
