"""Gateway API v1: HTTPRoute and GRPCRoute on Services (GAMMA, GEP-1426), field by field.

Source: kubernetes-sigs/gateway-api, apis/v1 (httproute_types.go, grpcroute_types.go, shared_types.go).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import (
    BackendWeight,
    DocumentPart,
    Duration,
    FieldName,
    Hostname,
    Label,
    Metadata,
    NonEmpty,
    NotYet,
    Port,
    RetryAttempts,
    RetryCode,
    ServerSide,
)

API_VERSION = "gateway.networking.k8s.io/v1"

_NO_REGEX = Meta(extra={"not_yet_values": ("RegularExpression",)})
PathType = Annotated[Literal["Exact", "PathPrefix", "RegularExpression"], _NO_REGEX]
ExactType = Annotated[Literal["Exact", "RegularExpression"], _NO_REGEX]

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]

UrlPath = Annotated[
    str,
    Meta(
        pattern=r"^/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})*\Z",
        max_length=1024,
        extra={"form": "an absolute path: it starts with '/' and has only characters that a URL path may have"},
    ),
]
GrpcService = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*\Z",
        max_length=1024,
        extra={"form": "a full gRPC service name such as shop.v1.Orders"},
    ),
]
GrpcMethodName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z_0-9]*\Z",
        max_length=1024,
        extra={"form": "a gRPC method name such as GetOrder"},
    ),
]


class ParentRef(DocumentPart, frozen=True):
    """What a route attaches to: in the mesh always a Service (`kind: Service`, `group: ""`)."""

    name: Label
    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    namespace: Label | None = None
    port: NotYet = None
    section_name: NotYet = None


class BackendRef(DocumentPart, frozen=True):
    """Where requests go. `port` is accepted and not needed: instances know their port."""

    name: Label
    group: str = ""
    kind: str = "Service"
    namespace: Label | None = None
    port: Port | None = None
    weight: BackendWeight = 1
    filters: NotYet = None


class PathMatch(DocumentPart, frozen=True):
    type: PathType = "PathPrefix"
    value: UrlPath = "/"


class HeaderMatch(DocumentPart, frozen=True):
    name: FieldName
    value: NonEmpty
    type: ExactType = "Exact"


class QueryParamMatch(DocumentPart, frozen=True):
    name: NonEmpty
    value: NonEmpty
    type: ExactType = "Exact"


class HTTPRouteMatch(DocumentPart, frozen=True):
    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[QueryParamMatch, ...] = ()
    method: Method | None = None


class RouteTimeouts(DocumentPart, frozen=True):
    request: Duration | None = None
    backend_request: NotYet = None


class RouteRetry(DocumentPart, frozen=True):
    codes: tuple[RetryCode, ...] | None = None
    attempts: RetryAttempts | None = None
    """Retries in addition to the first request."""
    backoff: NotYet = None


class HTTPRouteRule(DocumentPart, frozen=True):
    name: Label | None = None
    matches: tuple[HTTPRouteMatch, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: RouteTimeouts = RouteTimeouts()
    retry: RouteRetry = RouteRetry()
    filters: NotYet = None
    session_persistence: NotYet = None


class HTTPRouteSpec(DocumentPart, frozen=True):
    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()
    use_default_gateways: NotYet = None


class HTTPRoute(DocumentPart, frozen=True):
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: HTTPRouteSpec
    status: ServerSide = None


class GRPCMethodMatch(DocumentPart, frozen=True):
    type: ExactType = "Exact"
    service: GrpcService | None = None
    method: GrpcMethodName | None = None


class GRPCRouteMatch(DocumentPart, frozen=True):
    method: GRPCMethodMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()


class GRPCRouteRule(DocumentPart, frozen=True):
    name: Label | None = None
    matches: tuple[GRPCRouteMatch, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    filters: NotYet = None
    session_persistence: NotYet = None


class GRPCRouteSpec(DocumentPart, frozen=True):
    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()
    use_default_gateways: NotYet = None


class GRPCRoute(DocumentPart, frozen=True):
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["GRPCRoute"]
    metadata: Metadata
    spec: GRPCRouteSpec
    status: ServerSide = None
