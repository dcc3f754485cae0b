"""The catalog as the sidecars get it: each Service and EndpointSet encoded once a version, its bytes shared by all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Protocol

import msgspec

from remora.model.names import ServiceName
from remora.model.snapshot import EndpointSet, Service
from remora.proto.mesh.v1 import discovery_pb2 as pb

SERVICE: Final = pb.Resource.SERVICE
ENDPOINTS: Final = pb.Resource.ENDPOINTS
OWN: Final = pb.Resource.OWN

Key = tuple[int, ServiceName]
"""(SERVICE, ENDPOINTS or OWN, service)."""


class PushCatalog(Protocol):
    """What push needs of control's catalog."""

    @property
    def revision(self) -> int:
        """The etcd revision that it is as new as."""

    def service(self, name: ServiceName) -> Service | None:
        """Routing and policy; None when there is no document and no instance."""

    def endpoints(self, name: ServiceName) -> EndpointSet | None:
        """The instances; None when there is none."""

    def referenced(self, name: ServiceName) -> Collection[ServiceName]:
        """The services whose endpoints the routes of `name` need."""


class Encoded:
    """One version of a resource. Compared by identity: the same version is the same object."""

    __slots__ = ("backends", "key", "resource", "value")

    def __init__(self, value: Service | EndpointSet, backends: frozenset[ServiceName], *, is_own: bool = False) -> None:
        kind, name = (SERVICE, value.name) if isinstance(value, Service) else (ENDPOINTS, value.service)
        if is_own:
            kind = OWN
        self.key: Key = (kind, name)
        self.value = value
        self.backends = backends
        """Of a service: whose endpoints must come with it, itself included."""
        self.resource = pb.Resource(kind=kind, name=name, body=msgspec.json.encode(value))


class Resources:
    """What some session needs of the catalog, encoded; forgotten when none does."""

    def __init__(self, catalog: PushCatalog) -> None:
        self._catalog = catalog
        self._services: dict[ServiceName, Encoded | None] = {}
        self._endpoints: dict[ServiceName, Encoded] = {}
        self._own: dict[ServiceName, Encoded] = {}

    def __len__(self) -> int:
        return len(self._services) + len(self._endpoints)

    @property
    def revision(self) -> int:
        return self._catalog.revision

    def service(self, name: ServiceName) -> Encoded | None:
        """None: nothing is known of it."""
        if name not in self._services:
            self._services[name] = self._encode_service(name)
        return self._services[name]

    def own(self, name: ServiceName) -> Encoded | None:
        """What the service's own sidecars need of it; None: nothing is said of it that concerns them."""
        service = self.service(name)
        if service is None or not isinstance(service.value, Service):
            return None
        value = msgspec.structs.replace(service.value, routes=(), hostnames=())
        if value == Service(name):
            self._own.pop(name, None)
            return None
        known = self._own.get(name)
        if known is None or known.value != value:
            # What callers alone need has changed as a rule: then the version stays.
            known = self._own[name] = Encoded(value, frozenset(), is_own=True)
        return known

    def endpoints(self, name: ServiceName) -> Encoded:
        """A service without instances has an empty set."""
        encoded = self._endpoints.get(name)
        if encoded is None:
            encoded = self._endpoints[name] = Encoded(self._endpoint_set(name), frozenset())
        return encoded

    def refresh(self, names: Iterable[ServiceName]) -> tuple[set[ServiceName], set[ServiceName]]:
        """Read these again from the catalog; returns those whose (service, endpoint set) really changed here."""
        services: set[ServiceName] = set()
        endpoint_sets: set[ServiceName] = set()
        for name in names:
            if name in self._services and self._refresh_service(name):
                services.add(name)
            if name in self._endpoints and self._refresh_endpoints(name):
                endpoint_sets.add(name)
        return services, endpoint_sets

    def forget(self, name: ServiceName) -> None:
        """No session needs it any more."""
        self._services.pop(name, None)
        self._endpoints.pop(name, None)
        self._own.pop(name, None)

    def _refresh_service(self, name: ServiceName) -> bool:
        old = self._services[name]
        new = self._catalog.service(name)
        if old is not None and new is not None and new == old.value and self._backends(name) == old.backends:
            return False
        self._services[name] = self._encode_service(name)
        return old is not None or new is not None

    def _refresh_endpoints(self, name: ServiceName) -> bool:
        new = self._endpoint_set(name)
        if new == self._endpoints[name].value:
            return False
        self._endpoints[name] = Encoded(new, frozenset())
        return True

    def _encode_service(self, name: ServiceName) -> Encoded | None:
        service = self._catalog.service(name)
        return None if service is None else Encoded(service, self._backends(name))

    def _endpoint_set(self, name: ServiceName) -> EndpointSet:
        return self._catalog.endpoints(name) or EndpointSet(name)

    def _backends(self, name: ServiceName) -> frozenset[ServiceName]:
        return frozenset((name, *self._catalog.referenced(name)))
