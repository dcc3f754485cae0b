"""The services that a document names, and those of them that nobody serves yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from remora.documents.endpoints import service_of
from remora.documents.errors import Fault
from remora.documents.gateway import GRPCRoute, GRPCRouteRule, HTTPRoute, HTTPRouteRule
from remora.documents.kinds import Document
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy
from remora.documents.policies import targets
from remora.documents.routes import parents
from remora.model.names import ServiceName, service_name


def subjects(document: Document) -> tuple[ServiceName, ...]:
    """The services that a document says something about."""
    match document:
        case HTTPRoute() | GRPCRoute():
            return parents(document)
        case TrafficPolicy():
            return targets(document)
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
            for index, parent in enumerate(parents(document)):
                yield f"spec.parentRefs[{index}]", parent
            yield from _backend_mentions(document)
        case TrafficPolicy():
            for index, target in enumerate(targets(document)):
                yield f"spec.targetRefs[{index}]", target
        case ServiceEndpoints():
            return


def _backend_mentions(document: HTTPRoute | GRPCRoute) -> Iterator[tuple[str, ServiceName]]:
    rules: Sequence[HTTPRouteRule | GRPCRouteRule] = document.spec.rules
    for index, rule in enumerate(rules):
        for number, ref in enumerate(rule.backend_refs):
            service = service_name(ref.name, ref.namespace or document.metadata.namespace)
            yield f"spec.rules[{index}].backendRefs[{number}]", service
