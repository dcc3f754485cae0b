"""Filters of Gateway API v1, field by field.

Source: kubernetes-sigs/gateway-api, apis/v1 (httproute_types.go, grpcroute_types.go).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import (
    BackendWeight,
    DocumentPart,
    FieldName,
    Label,
    NonEmpty,
    NotInMesh,
    Percent,
    Port,
    PreciseHostname,
    PrefixReplacement,
    UrlPath,
)

Scheme = Literal["http", "https"]
RedirectStatus = Literal[301, 302, 303, 307, 308]
CorsMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]
CorsOrigin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://(\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:(\*|[0-9]{1,5}))?)\Z",
        max_length=253,
        extra={"form": "an origin: SCHEME://HOST, maybe with :PORT, where HOST may begin with '*.'; or '*'"},
    ),
]
CorsName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z",
        max_length=256,
        extra={"form": "a header name, or '*'"},
    ),
]
Seconds = Annotated[int, Meta(ge=1, le=2_147_483_647)]
Denominator = Annotated[int, Meta(ge=1, le=2_147_483_647)]


class HeaderValue(DocumentPart, frozen=True):
    name: FieldName
    value: NonEmpty


class HeaderModifier(DocumentPart, frozen=True):
    """`set` replaces, `add` appends, `remove` takes out."""

    set: tuple[HeaderValue, ...] = ()
    add: tuple[HeaderValue, ...] = ()
    remove: tuple[FieldName, ...] = ()


class PathModifier(DocumentPart, frozen=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: UrlPath | None = None
    replace_prefix_match: PrefixReplacement | None = None


class RequestRedirect(DocumentPart, frozen=True):
    scheme: Scheme | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: RedirectStatus = 302


class UrlRewrite(DocumentPart, frozen=True):
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class MirrorBackend(DocumentPart, frozen=True):
    name: Label
    group: str = ""
    kind: str = "Service"
    namespace: Label | None = None
    port: Port | None = None


class Fraction(DocumentPart, frozen=True):
    numerator: BackendWeight
    denominator: Denominator = 100


class RequestMirror(DocumentPart, frozen=True):
    backend_ref: MirrorBackend
    percent: Percent | None = None
    fraction: Fraction | None = None


class CorsFilter(DocumentPart, frozen=True):
    allow_origins: tuple[CorsOrigin, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[CorsMethod, ...] = ()
    allow_headers: tuple[CorsName, ...] = ()
    expose_headers: tuple[CorsName, ...] = ()
    max_age: Seconds = 5


class HTTPFilter(DocumentPart, frozen=True):
    """One of the fields is set, the one that `type` names."""

    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror", "CORS"
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    request_mirror: RequestMirror | None = None
    cors: CorsFilter | None = None
    extension_ref: NotInMesh = None
    external_auth: NotInMesh = None


class GRPCFilter(DocumentPart, frozen=True):
    """One of the fields is set, the one that `type` names."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: NotInMesh = None


Filter = HTTPFilter | GRPCFilter
