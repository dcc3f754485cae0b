"""The kinds that the mesh knows."""

from __future__ import annotations

import msgspec

from remora.documents.fault_policy import FaultPolicy
from remora.documents.gateway import API_VERSION as GATEWAY_API_VERSION
from remora.documents.gateway import GRPCRoute, HTTPRoute, ReferenceGrant
from remora.documents.mesh import API_VERSION as MESH_API_VERSION
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy
from remora.documents.rate_limit_policy import RateLimitPolicy
from remora.model.base import Origin

Route = HTTPRoute | GRPCRoute
Document = HTTPRoute | GRPCRoute | ReferenceGrant | TrafficPolicy | RateLimitPolicy | FaultPolicy | ServiceEndpoints

KINDS: dict[str, type[Document]] = {
    "HTTPRoute": HTTPRoute,
    "GRPCRoute": GRPCRoute,
    "ReferenceGrant": ReferenceGrant,
    "TrafficPolicy": TrafficPolicy,
    "RateLimitPolicy": RateLimitPolicy,
    "FaultPolicy": FaultPolicy,
    "ServiceEndpoints": ServiceEndpoints,
}
API_VERSIONS = {
    "HTTPRoute": GATEWAY_API_VERSION,
    "GRPCRoute": GATEWAY_API_VERSION,
    "ReferenceGrant": GATEWAY_API_VERSION,
    "TrafficPolicy": MESH_API_VERSION,
    "RateLimitPolicy": MESH_API_VERSION,
    "FaultPolicy": MESH_API_VERSION,
    "ServiceEndpoints": MESH_API_VERSION,
}


class DocumentKey(msgspec.Struct, frozen=True, order=True):
    """Which document: unique in an environment."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(document: Document) -> DocumentKey:
    return DocumentKey(document.kind, document.metadata.namespace, document.metadata.name)


def origin_of(document: Document, revision: int, rule: int = 0) -> Origin:
    return Origin(document.kind, document.metadata.namespace, document.metadata.name, revision, rule)


def find_kind(text: str) -> str | None:
    """The kind that a person means: any case, singular or plural (`httproute`, `trafficpolicies`)."""
    wanted = text.lower()
    for kind in KINDS:
        singular = kind.lower()
        plural = singular[:-1] + "ies" if singular.endswith("y") else singular + "s"
        if wanted in (singular, plural):
            return kind
    return None
