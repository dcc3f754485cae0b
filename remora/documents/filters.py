"""Filters of documents → Filters of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from remora.documents.gateway_filters import (
    CorsFilter,
    Filter,
    HeaderModifier,
    HeaderValue,
    HTTPFilter,
    PathModifier,
    RequestMirror,
    RequestRedirect,
    UrlRewrite,
)
from remora.model.names import ServiceName, service_name
from remora.model.routes import Cors, FieldEdits, Filters, Mirror, PathRewrite, Redirect, Rewrite


def compile_filters(filters: Iterable[Filter], namespace: str) -> Filters | None:
    """What checked filters of one rule or backend do, together; None: there are none. `namespace` is the document's."""
    found = tuple(filters)
    if not found:
        return None
    https = [item for item in found if isinstance(item, HTTPFilter)]
    return Filters(
        request=_edits(item.request_header_modifier for item in found),
        response=_edits(item.response_header_modifier for item in found),
        rewrite=next((_rewrite(item.url_rewrite) for item in https if item.url_rewrite), None),
        redirect=next((_redirect(item.request_redirect) for item in https if item.request_redirect), None),
        mirrors=tuple(_mirror(item.request_mirror, namespace) for item in found if item.request_mirror),
        cors=next((_cors(item.cors) for item in https if item.cors), None),
    )


def mirrored(filters: Iterable[Filter], namespace: str) -> Iterator[tuple[int, ServiceName]]:
    """(index of the filter, the service that it mirrors to)."""
    for index, item in enumerate(filters):
        if item.request_mirror is not None:
            yield index, _mirror(item.request_mirror, namespace).service


def _edits(modifiers: Iterable[HeaderModifier | None]) -> FieldEdits | None:
    modifier = next(filter(None, modifiers), None)
    if modifier is None:
        return None
    return FieldEdits(_pairs(modifier.set), _pairs(modifier.add), modifier.remove)


def _pairs(values: tuple[HeaderValue, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((item.name, item.value) for item in values)


def _path(path: PathModifier | None) -> PathRewrite | None:
    if path is None:
        return None
    if path.type == "ReplaceFullPath":
        return PathRewrite("full", path.replace_full_path or "/")
    return PathRewrite("prefix", path.replace_prefix_match or "/")


def _rewrite(rewrite: UrlRewrite) -> Rewrite:
    return Rewrite(rewrite.hostname or "", _path(rewrite.path))


def _redirect(redirect: RequestRedirect) -> Redirect:
    return Redirect(
        scheme=redirect.scheme or "",
        hostname=redirect.hostname or "",
        port=redirect.port,
        path=_path(redirect.path),
        status=redirect.status_code,
    )


def _mirror(mirror: RequestMirror, namespace: str) -> Mirror:
    service = service_name(mirror.backend_ref.name, mirror.backend_ref.namespace or namespace)
    if mirror.fraction is not None:
        return Mirror(service, mirror.fraction.numerator / mirror.fraction.denominator)
    return Mirror(service, 1.0 if mirror.percent is None else mirror.percent / 100)


def _cors(cors: CorsFilter) -> Cors:
    return Cors(
        origins=cors.allow_origins,
        credentials=cors.allow_credentials,
        methods=cors.allow_methods,
        headers=cors.allow_headers,
        expose=cors.expose_headers,
        max_age_s=cors.max_age,
    )
