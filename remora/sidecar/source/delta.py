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
    own: Service | None = None

    def onto(self, snapshot: Snapshot, vanished: frozenset[ServiceName]) -> Snapshot:
        """`snapshot` with these parts, without `vanished` services that these parts do not bring back."""
        removed = (*self.removed, *vanished)
        return snapshot.with_parts(self.revision, self.services, self.endpoint_sets, removed, self.own)


def named_in(delta: Delta) -> frozenset[ServiceName]:
    """The services that `delta` brings parts of, for callers."""
    return frozenset(ServiceName(resource.name) for resource in delta.upserts if resource.kind != Resource.OWN)


def has_own(delta: Delta) -> bool:
    """Whether `delta` says something of the sidecar's own service."""
    return any(resource.kind == Resource.OWN for resource in delta.upserts)


def decode(delta: Delta) -> Parts:
    """Raises SnapshotError when a body is not what its kind says. Kinds of a newer control are passed over."""
    services: list[Service] = []
    endpoint_sets: list[EndpointSet] = []
    own: Service | None = None
    for resource in delta.upserts:
        try:
            if resource.kind == Resource.SERVICE:
                services.append(_SERVICE.decode(resource.body))
            elif resource.kind == Resource.ENDPOINTS:
                endpoint_sets.append(_ENDPOINTS.decode(resource.body))
            elif resource.kind == Resource.OWN:
                own = _SERVICE.decode(resource.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = Resource.Kind.Name(resource.kind)
            raise SnapshotError(f"{kind} {resource.name} cannot be read: {error}") from error
    removed = tuple(map(ServiceName, delta.removals))
    return Parts(delta.revision, tuple(services), tuple(endpoint_sets), removed, own)
