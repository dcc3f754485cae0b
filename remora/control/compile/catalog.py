"""The Catalog: everything that control knows of one environment, kept in line with the store event by event.

What changes is told apart: routing and policy (`Changes.services`) from instances (`Changes.endpoint_sets`), so that an
endpoint change never resends routes; and what compiles to the same as before is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from remora.control.compile.instances import InstanceProblem, Instances
from remora.control.compile.shelf import Shelf, document_key
from remora.control.compile.status import DocumentStatus, decode_record
from remora.control.store.interface import Event, EventKind
from remora.control.store.keys import ConfigKey, InstanceKey, StatusKey, parse_key
from remora.documents.errors import Fault
from remora.documents.kinds import Document, DocumentKey
from remora.documents.references import unserved
from remora.documents.services import compile_service
from remora.model.limits import ServiceLimits
from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.model.snapshot import EndpointSet, Service


class Changes(msgspec.Struct, frozen=True):
    """What a batch of events changed."""

    services: frozenset[ServiceName] = frozenset()
    """Whose Service changed, appeared or went (then `Catalog.service` is None)."""
    endpoint_sets: frozenset[ServiceName] = frozenset()
    """Whose EndpointSet changed, appeared or went."""
    statuses: tuple[DocumentStatus, ...] = ()
    """Of documents of which there is something new to say."""
    removed: tuple[DocumentKey, ...] = ()
    """Documents that are gone."""


class Catalog:
    """Holds the documents and instances of one environment. Never raises for what people or instances wrote."""

    __slots__ = ("_env", "_instances", "_revision", "_services", "_shelf", "_statuses")

    def __init__(self, env: str) -> None:
        self._env = env
        self._revision = 0
        self._shelf = Shelf()
        self._instances = Instances()
        self._services: dict[ServiceName, Service] = {}
        self._statuses: dict[DocumentKey, DocumentStatus] = {}

    @property
    def revision(self) -> int:
        """The store's revision that this is as new as; 0 at first."""
        return self._revision

    def apply(self, events: Iterable[Event], revision: int) -> Changes:
        """Take changes of the store, in order, up to `revision`. Keys of others are ignored."""
        for event in events:
            self._take(event)
        self._revision = revision
        touched, documents = self._shelf.settle()
        for service in touched:
            static = (endpoint for active in self._shelf.of_service(service) for endpoint in active.endpoints)
            self._instances.set_static(service, static)
        moved = self._instances.settle()
        services = self._renew(self._affected(touched | moved))
        statuses, removed = self._note(documents)
        return Changes(frozenset(services), frozenset(moved), statuses, removed)

    def service(self, name: ServiceName) -> Service | None:
        """Routing and policy; None: there is no document and no instance. The same object while nothing changes."""
        return self._services.get(name)

    def endpoints(self, name: ServiceName) -> EndpointSet | None:
        """The instances, of version services too; None: there is none."""
        return self._instances.endpoints(name)

    def known(self, name: ServiceName) -> bool:
        return name in self._services

    def referenced(self, name: ServiceName) -> frozenset[ServiceName]:
        """The services whose endpoints callers of `name` need: itself, the backends and the mirrors of its routes, and
        its fallback."""
        service = self._services.get(name)
        if service is None:
            return frozenset((name,))
        fallback = service.policy.fallback
        others = () if fallback is None or fallback.service is None else (fallback.service,)
        return frozenset((name, *others, *(other for route in service.routes for other in route.services())))

    def names(self) -> list[ServiceName]:
        """All known services, in order."""
        return sorted(self._services)

    def status(self, key: DocumentKey) -> DocumentStatus | None:
        """Of one document; None: there is no such document."""
        return self._statuses.get(key)

    def statuses(self) -> list[DocumentStatus]:
        """Of all documents, in order."""
        return [status for _, status in sorted(self._statuses.items())]

    def problems(self) -> list[InstanceProblem]:
        """Instances that are left out, in order."""
        return self._instances.problems()

    def notes(self, document: Document) -> tuple[Fault, ...]:
        """What people may want to know of a document that is no error: services named that have no instance yet."""
        return unserved(document, lambda service: self.endpoints(service) is not None)

    def _take(self, event: Event) -> None:
        key = parse_key(event.key)
        if key is None or key.env != self._env:
            return
        is_put = event.kind is EventKind.PUT
        match key:
            case ConfigKey():
                if is_put:
                    self._shelf.put(document_key(key), event.value, event.mod_revision, event.create_revision)
                else:
                    self._shelf.delete(document_key(key))
            case InstanceKey():
                if is_put:
                    self._instances.put(key, event.value)
                else:
                    self._instances.delete(key)
            case StatusKey():
                self._remember(key, event)

    def _remember(self, key: StatusKey, event: Event) -> None:
        record = decode_record(event.value) if event.kind is EventKind.PUT else None
        if record is not None and record.active is not None:
            self._shelf.remember(DocumentKey(key.kind, key.namespace, key.name), record.active)

    def _affected(self, services: set[ServiceName]) -> set[ServiceName]:
        """Versions have the policy of their base."""
        return services.union(*(self._instances.versions(service) for service in services))

    def _renew(self, services: Iterable[ServiceName]) -> set[ServiceName]:
        """Compile these anew; those that came out different."""
        return {name for name in services if self._replace(name, self._compile(name))}

    def _replace(self, name: ServiceName, compiled: Service | None) -> bool:
        if compiled == self._services.get(name):
            return False
        if compiled is None:
            del self._services[name]
        else:
            self._services[name] = compiled
        return True

    def _compile(self, name: ServiceName) -> Service | None:
        if not self._shelf.has(name) and self._instances.endpoints(name) is None:
            return None
        routes = [route for active in self._shelf.of_service(name) for route in active.routes.get(name, ())]
        faults = [fault for active in self._shelf.of_service(name) for fault in active.faults]
        return compile_service(name, routes, self._policy(name), faults, self._limits(name))

    def _limits(self, name: ServiceName) -> Iterator[ServiceLimits]:
        """Its own, and what instances enforce for the service of which it is a version."""
        for active in self._shelf.of_service(name):
            if name in active.limits:
                yield active.limits[name]
        base = self._instances.base(name)
        if base is None:
            return
        for active in self._shelf.of_service(base):
            if base in active.limits:
                yield active.limits[base].enforced(at_callers=False)

    def _policy(self, name: ServiceName) -> ServicePolicy | None:
        for candidate in (name, self._instances.base(name)):
            if candidate is None:
                continue
            for active in self._shelf.of_service(candidate):
                if active.policy is not None:
                    return active.policy
        return None

    def _note(self, documents: Iterable[DocumentKey]) -> tuple[tuple[DocumentStatus, ...], tuple[DocumentKey, ...]]:
        """(statuses that changed, documents that are gone)."""
        changed: list[DocumentStatus] = []
        removed: list[DocumentKey] = []
        for key in sorted(documents):
            status = self._shelf.status(key)
            if status is None:
                self._statuses.pop(key, None)
                removed.append(key)
            elif status != self._statuses.get(key):
                self._statuses[key] = status
                changed.append(status)
        return tuple(changed), tuple(removed)
