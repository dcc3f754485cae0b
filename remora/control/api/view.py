"""What `control status` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from remora.control.compile.catalog import Catalog
from remora.control.compile.instances import InstanceProblem
from remora.control.compile.status import DocumentStatus
from remora.documents.errors import Fault
from remora.model.names import ServiceName
from remora.model.snapshot import Endpoint


class Sidecars(Protocol):
    """Who is connected: the push server."""

    def sessions(self) -> Sequence[Any]:
        """Values that msgspec can write as JSON."""


class Readiness(Protocol):
    """Whether this control can serve sidecars."""

    def missing(self) -> tuple[str, ...]:
        """What is missing, a sentence each; empty: ready."""


class DocumentView(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    namespace: str
    name: str
    revision: int
    accepted: bool
    active_revision: int
    """Of the version in use; 0: none is."""
    errors: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()


class ServiceView(msgspec.Struct, frozen=True):
    name: str
    routes: int
    policy: str
    """The document that its policy comes from; empty: defaults."""
    healthy: int
    instances: tuple[Endpoint, ...] = ()


class StatusView(msgspec.Struct, frozen=True):
    env: str
    revision: int
    store: str
    """Empty: it is there. Else why not; sidecars are served with what was read last."""
    documents: tuple[DocumentView, ...]
    services: tuple[ServiceView, ...]
    problems: tuple[InstanceProblem, ...]
    sidecars: tuple[Any, ...]


def status_view(env: str, catalog: Catalog, sidecars: Sidecars, store: str) -> StatusView:
    """All that people may ask for, at this moment."""
    return StatusView(
        env=env,
        revision=catalog.revision,
        store=store,
        documents=tuple(_document(status, catalog) for status in catalog.statuses()),
        services=tuple(_service(name, catalog) for name in catalog.names()),
        problems=tuple(catalog.problems()),
        sidecars=tuple(sidecars.sessions()),
    )


def _document(status: DocumentStatus, catalog: Catalog) -> DocumentView:
    return DocumentView(
        kind=status.key.kind,
        namespace=status.key.namespace,
        name=status.key.name,
        revision=status.revision,
        accepted=status.accepted,
        active_revision=status.active_revision,
        errors=status.errors,
        notes=catalog.notes(status.active) if status.active else (),
    )


def _service(name: ServiceName, catalog: Catalog) -> ServiceView:
    service = catalog.service(name)
    endpoints = catalog.endpoints(name)
    instances = endpoints.endpoints if endpoints else ()
    return ServiceView(
        name=name,
        routes=len(service.routes) if service else 0,
        policy=str(service.policy.origin or "") if service else "",
        healthy=sum(endpoint.healthy for endpoint in instances),
        instances=instances,
    )
