"""Gateway API v1: HTTPRoute and GRPCRoute on Services (GAMMA, GEP-1426), field by field.

Source: kubernetes-sigs/gateway-api, apis/v1 (httproute_types.go, grpcroute_types.go, shared_types.go).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from remora.documents.fields import (
    BackendWeight,
    DocumentName,
    DocumentPart,
    Duration,
    FieldName,
    Hostname,
    Label,
    Metadata,
    NonEmpty,
    NotForServices,
    Port,
    RetryAttempts,
    RetryCode,
    ServerSide,
)
from remora.documents.gateway_filters import GRPCFilter, HTTPFilter

API_VERSION = "gateway.networking.k8s.io/v1"

PathType = Literal["Exact", "PathPrefix", "RegularExpression"]
TextType = Literal["Exact", "RegularExpression"]

PathValue = Annotated[str, Meta(min_length=1, max_length=1024)]

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]

GrpcName = Annotated[str, Meta(max_length=1024)]
SessionName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z",
        max_length=128,
        extra={"form": "a name of letters, digits and !#$%&'*+-.^_`|~, at most 128"},
    ),
]


class ParentRef(DocumentPart, frozen=True):
    """What a route attaches to: in the mesh always a Service (`kind: Service`, `group: ""`)."""

    name: Label
    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    namespace: Label | None = None
    port: Port | None = None
    section_name: NotForServices = None


class BackendRef(DocumentPart, frozen=True):
    """Where requests go. `port` is accepted and not needed: instances know their port."""

    name: Label
    group: str = ""
    kind: str = "Service"
    namespace: Label | None = None
    port: Port | None = None
    weight: BackendWeight = 1


class HTTPBackendRef(BackendRef, frozen=True):
    filters: tuple[HTTPFilter, ...] = ()


class GRPCBackendRef(BackendRef, frozen=True):
    filters: tuple[GRPCFilter, ...] = ()


class CookieConfig(DocumentPart, frozen=True):
    lifetime_type: Literal["Permanent", "Session"] = "Session"


class SessionPersistence(DocumentPart, frozen=True):
    session_name: SessionName | None = None
    absolute_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfig = CookieConfig()


class PathMatch(DocumentPart, frozen=True):
    type: PathType = "PathPrefix"
    value: PathValue = "/"
    """Of `RegularExpression` a regex, else a path; checks.py looks."""


class HeaderMatch(DocumentPart, frozen=True):
    name: FieldName
    value: NonEmpty
    type: TextType = "Exact"


class QueryParamMatch(DocumentPart, frozen=True):
    name: NonEmpty
    value: NonEmpty
    type: TextType = "Exact"


class HTTPRouteMatch(DocumentPart, frozen=True):
    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[QueryParamMatch, ...] = ()
    method: Method | None = None


class RouteTimeouts(DocumentPart, frozen=True):
    request: Duration | None = None
    backend_request: Duration | None = None
    """Of one try."""


class RouteRetry(DocumentPart, frozen=True):
    codes: tuple[RetryCode, ...] | None = None
    attempts: RetryAttempts | None = None
    """Retries in addition to the first request."""
    backoff: Duration | None = None
    """Between tries, at first."""


class HTTPRouteRule(DocumentPart, frozen=True):
    name: DocumentName | None = None
    matches: tuple[HTTPRouteMatch, ...] = ()
    backend_refs: tuple[HTTPBackendRef, ...] = ()
    timeouts: RouteTimeouts = RouteTimeouts()
    retry: RouteRetry = RouteRetry()
    filters: tuple[HTTPFilter, ...] = ()
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(DocumentPart, frozen=True):
    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()
    use_default_gateways: NotForServices = None


class HTTPRoute(DocumentPart, frozen=True):
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: HTTPRouteSpec
    status: ServerSide = None


class GRPCMethodMatch(DocumentPart, frozen=True):
    type: TextType = "Exact"
    service: GrpcName | None = None
    method: GrpcName | None = None


class GRPCRouteMatch(DocumentPart, frozen=True):
    method: GRPCMethodMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()


class GRPCRouteRule(DocumentPart, frozen=True):
    name: DocumentName | None = None
    matches: tuple[GRPCRouteMatch, ...] = ()
    backend_refs: tuple[GRPCBackendRef, ...] = ()
    filters: tuple[GRPCFilter, ...] = ()
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(DocumentPart, frozen=True):
    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()
    use_default_gateways: NotForServices = None


class GRPCRoute(DocumentPart, frozen=True):
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["GRPCRoute"]
    metadata: Metadata
    spec: GRPCRouteSpec
    status: ServerSide = None


class GrantFrom(DocumentPart, frozen=True):
    """Whose documents may refer to what is here."""

    kind: Literal["HTTPRoute", "GRPCRoute"]
    namespace: Label
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"


class GrantTo(DocumentPart, frozen=True):
    """What they may refer to."""

    kind: Literal["Service"]
    name: Label | None = None
    group: Literal[""] = ""


class ReferenceGrantSpec(DocumentPart, frozen=True):
    to: tuple[GrantTo, ...]
    from_: tuple[GrantFrom, ...] = msgspec.field(name="from")


class ReferenceGrant(DocumentPart, frozen=True):
    """Lets routes of other namespaces send requests to services of its own."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["ReferenceGrant"]
    metadata: Metadata
    spec: ReferenceGrantSpec
    status: ServerSide = None
