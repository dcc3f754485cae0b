"""Instances and static endpoints → endpoint sets, of services and of their versions.

An instance of `reviews` with version `v2` is also an endpoint of `reviews-v2`, unless something registers under that
very name: then that is what `reviews-v2` is.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from remora.control.store.keys import InstanceKey
from remora.model.names import ServiceName, version_service
from remora.model.snapshot import Endpoint, EndpointSet


class InstanceProblem(msgspec.Struct, frozen=True):
    """An instance key whose value cannot be used."""

    key: str
    message: str


class InstanceError(Exception):
    """An instance's value cannot be used; its text says why."""


def read_instance(instance: str, value: bytes) -> Endpoint:
    """The endpoint under an instance key; the key's id is the truth. Raises InstanceError."""
    try:
        raw = msgspec.json.decode(value)
        if not isinstance(raw, dict):
            raise InstanceError("the value must be a JSON object with address and port")
        endpoint = msgspec.convert({**raw, "id": instance}, Endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InstanceError(f"the value is not JSON: {error}") from None
    except msgspec.ValidationError as error:
        raise InstanceError(str(error)) from None
    if not endpoint.address:
        raise InstanceError("address must not be empty")
    if not 1 <= endpoint.port <= 65535:
        raise InstanceError(f"port {endpoint.port} is not from 1 to 65535")
    if endpoint.weight < 1:
        raise InstanceError(f"weight {endpoint.weight} must be at least 1")
    return endpoint


class Instances:
    """Takes instances and static endpoints, and keeps the endpoint sets of all services that they make."""

    __slots__ = ("_bases", "_dirty", "_problems", "_registered", "_sets", "_static", "_versions")

    def __init__(self) -> None:
        self._registered: dict[ServiceName, dict[str, Endpoint]] = {}
        self._static: dict[ServiceName, dict[str, Endpoint]] = {}
        self._versions: dict[ServiceName, set[ServiceName]] = {}
        """The version services that a service makes."""
        self._bases: dict[ServiceName, set[ServiceName]] = {}
        """The reverse."""
        self._sets: dict[ServiceName, EndpointSet] = {}
        self._problems: dict[str, InstanceProblem] = {}
        self._dirty: set[ServiceName] = set()

    def put(self, key: InstanceKey, value: bytes) -> None:
        """An instance was written. One that cannot be used leaves what was there, and is a problem."""
        try:
            endpoint = read_instance(key.instance, value)
        except InstanceError as error:
            self._problems[str(key)] = InstanceProblem(str(key), str(error))
            return
        self._problems.pop(str(key), None)
        self._registered.setdefault(key.service, {})[key.instance] = endpoint
        self._dirty.add(key.service)

    def delete(self, key: InstanceKey) -> None:
        self._problems.pop(str(key), None)
        instances = self._registered.get(key.service)
        if instances is None or instances.pop(key.instance, None) is None:
            return
        if not instances:
            del self._registered[key.service]
        self._dirty.add(key.service)

    def set_static(self, service: ServiceName, endpoints: Iterable[Endpoint]) -> None:
        """All static endpoints of a service."""
        self._static.pop(service, None)
        if by_id := {endpoint.id: endpoint for endpoint in endpoints}:
            self._static[service] = by_id
        self._dirty.add(service)

    def settle(self) -> set[ServiceName]:
        """Bring the sets in line with what was put and deleted; the services whose set changed."""
        dirty, self._dirty = self._dirty, set()
        for service in tuple(dirty):
            dirty |= self._relate(service)
        return {service for service in dirty if self._renew(service)}

    def endpoints(self, service: ServiceName) -> EndpointSet | None:
        return self._sets.get(service)

    def base(self, service: ServiceName) -> ServiceName | None:
        """The service that `service` is a version of; None if it is none or has a registration of its own."""
        if self._own(service):
            return None
        return min(self._bases.get(service, ()), default=None)

    def versions(self, service: ServiceName) -> frozenset[ServiceName]:
        """The services that the versions of `service` are."""
        return frozenset(self._versions.get(service, ()))

    def problems(self) -> list[InstanceProblem]:
        return [problem for _, problem in sorted(self._problems.items())]

    def names(self) -> Iterable[ServiceName]:
        return self._sets.keys()

    def _own(self, service: ServiceName) -> dict[str, Endpoint]:
        return {**self._static.get(service, {}), **self._registered.get(service, {})}

    def _relate(self, service: ServiceName) -> set[ServiceName]:
        """Note which version services `service` makes now; those that it made or makes may have changed."""
        before = self._versions.pop(service, set())
        now = {
            version
            for endpoint in self._own(service).values()
            if (version := version_service(service, endpoint.version)) is not None
        }
        if now:
            self._versions[service] = now
        for version in before - now:
            self._bases[version].discard(service)
            if not self._bases[version]:
                del self._bases[version]
        for version in now - before:
            self._bases.setdefault(version, set()).add(service)
        return before | now

    def _renew(self, service: ServiceName) -> bool:
        """Make the endpoint set anew; whether it changed."""
        endpoints = self._own(service) or self._of_version(service)
        if not endpoints:
            return self._sets.pop(service, None) is not None
        renewed = EndpointSet(service, tuple(endpoint for _, endpoint in sorted(endpoints.items())))
        if renewed == self._sets.get(service):
            return False
        self._sets[service] = renewed
        return True

    def _of_version(self, service: ServiceName) -> dict[str, Endpoint]:
        return {
            endpoint.id: endpoint
            for base in self._bases.get(service, ())
            for endpoint in self._own(base).values()
            if version_service(base, endpoint.version) == service
        }
