"""ServiceEndpoints → endpoints of the model, and the services that versions are."""

from __future__ import annotations

from remora.documents.mesh import ServiceEndpoints, StaticEndpoint
from remora.model.names import ServiceName, is_label, service_name, split_service_name
from remora.model.snapshot import Endpoint


def service_of(document: ServiceEndpoints) -> ServiceName:
    return service_name(document.spec.service, document.metadata.namespace)


def static_endpoints(document: ServiceEndpoints) -> tuple[Endpoint, ...]:
    return tuple(_endpoint(endpoint) for endpoint in document.spec.endpoints)


def version_service(service: ServiceName, version: str) -> ServiceName | None:
    """The service that the instances of `version` also answer to: `reviews`, `v2` → `reviews-v2`.

    None when there is no version or it cannot be part of a name.
    """
    name, namespace = split_service_name(service)
    versioned = f"{name}-{version}"
    return service_name(versioned, namespace) if version and is_label(versioned) else None


def _endpoint(endpoint: StaticEndpoint) -> Endpoint:
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return Endpoint(
        id=f"{host}:{endpoint.port}",
        address=endpoint.address,
        port=endpoint.port,
        protocol=endpoint.protocol,
        version=endpoint.version or "",
        zone=endpoint.zone,
        weight=endpoint.weight,
    )
