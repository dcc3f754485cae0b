"""The services that a document names, and those of them that nobody serves yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from remora.documents import faults, limits
from remora.documents.endpoints import service_of
from remora.documents.errors import Fault
from remora.documents.fault_policy import FaultPolicy
from remora.documents.gateway import GRPCRoute, HTTPRoute, ReferenceGrant
from remora.documents.kinds import Document
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy
from remora.documents.policies import targets
from remora.documents.rate_limit_policy import RateLimitPolicy
from remora.documents.routes import backend_places, parent_service, parents
from remora.model.names import ServiceName, service_name


def subjects(document: Document) -> tuple[ServiceName, ...]:
    """The services that a document says something about."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return parents(document)
        case ReferenceGrant():
            return ()
        case TrafficPolicy():
            return targets(document)
        case FaultPolicy():
            return faults.targets(document)
        case RateLimitPolicy():
            return limits.targets(document)
        case ServiceEndpoints():
            return (service_of(document),)


def unserved(document: Document, is_served: Callable[[ServiceName], bool]) -> tuple[Fault, ...]:
    """A note for each place that names a service without instances. No error: instances may come later."""
    return tuple(
        Fault(place, f"no instance of {service} is known yet")
        for place, service in _mentions(document)
        if not is_served(service)
    )


def _mentions(document: Document) -> Iterator[tuple[str, ServiceName]]:
    match document:
        case HTTPRoute() | GRPCRoute():
            for index, parent in enumerate(document.spec.parent_refs):
                yield f"spec.parentRefs[{index}]", parent_service(document, parent)
            yield from backend_places(document)
        case TrafficPolicy() | RateLimitPolicy() | FaultPolicy():
            for index, target in enumerate(subjects(document)):
                yield f"spec.targetRefs[{index}]", target
            fallback = document.spec.fallback if isinstance(document, TrafficPolicy) else None
            if fallback is not None and fallback.service is not None:
                yield "spec.fallback.service", service_name(fallback.service, document.metadata.namespace)
        case ReferenceGrant() | ServiceEndpoints():
            return
