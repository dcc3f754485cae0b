"""ServiceEndpoints → endpoints of the model."""

from __future__ import annotations

from remora.documents.mesh import ServiceEndpoints, StaticEndpoint
from remora.model.names import ServiceName, service_name
from remora.model.snapshot import Endpoint


def service_of(document: ServiceEndpoints) -> ServiceName:
    return service_name(document.spec.service, document.metadata.namespace)


def static_endpoints(document: ServiceEndpoints) -> tuple[Endpoint, ...]:
    return tuple(_endpoint(endpoint) for endpoint in document.spec.endpoints)


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
