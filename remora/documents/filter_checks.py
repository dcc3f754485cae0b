"""What types cannot say about filters (the CEL rules of Gateway API's httproute_types.go)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from remora.documents.errors import Fault
from remora.documents.gateway import GRPCBackendRef, GRPCRouteRule, HTTPBackendRef, HTTPRouteRule
from remora.documents.gateway_filters import (
    CorsFilter,
    Filter,
    HeaderModifier,
    HeaderValue,
    HTTPFilter,
    PathModifier,
    RequestMirror,
)

_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
    "CORS": "cors",
}
_MANY = frozenset(("RequestMirror",))

OURS = frozenset(
    (
        *("connection", "proxy-connection", "keep-alive", "http2-settings", "te", "upgrade", "expect"),
        *("transfer-encoding", "content-length", "host"),
    )
)
"""Headers that say how a message is framed or where it goes: editing them would break it."""


def check_filters(rule: HTTPRouteRule | GRPCRouteRule, place: str) -> Iterator[Fault]:
    """Faults of the filters of a rule and of its backends."""
    yield from _filters(rule.filters, f"{place}.filters")
    if isinstance(rule, HTTPRouteRule):
        yield from _together(rule, place)
    backends: Sequence[HTTPBackendRef | GRPCBackendRef] = rule.backend_refs
    for index, backend in enumerate(backends):
        where = f"{place}.backendRefs[{index}].filters"
        yield from _filters(backend.filters, where)
        filters: Sequence[Filter] = backend.filters
        for number, item in enumerate(filters):
            if item.type in ("RequestRedirect", "CORS"):
                yield Fault(f"{where}[{number}].type", f"{item.type} is for a rule, not for a backend; move it up")


def has_redirect(rule: HTTPRouteRule | GRPCRouteRule) -> bool:
    """Whether the rule answers by itself, and so needs no backend."""
    return any(item.type == "RequestRedirect" for item in rule.filters)


def _filters(filters: Sequence[Filter], place: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, item in enumerate(filters):
        where = f"{place}[{index}]"
        if item.type in seen and item.type not in _MANY:
            yield Fault(f"{where}.type", f"there is a {item.type} in this list already; put both into one")
        seen.add(item.type)
        yield from _one(item, where)


def _one(item: Filter, where: str) -> Iterator[Fault]:
    wanted = _FIELDS[item.type]
    names = {field.encode_name: field.name for field in msgspec.structs.fields(item)}
    given = {shown for shown, name in names.items() if shown != "type" and getattr(item, name) is not None}
    if wanted not in given:
        yield Fault(f"{where}.{wanted}", f"a filter of type {item.type} needs this field")
    for other in sorted(given - {wanted}):
        yield Fault(f"{where}.{other}", f"does not go with type {item.type}; take it out or change the type")
    for modifier, name in (
        (item.request_header_modifier, "requestHeaderModifier"),
        (item.response_header_modifier, "responseHeaderModifier"),
    ):
        if modifier is not None:
            yield from _headers(modifier, f"{where}.{name}")
    if item.request_mirror is not None:
        yield from _mirror(item.request_mirror, f"{where}.requestMirror")
    if isinstance(item, HTTPFilter):
        yield from _http(item, where)


def _http(item: HTTPFilter, where: str) -> Iterator[Fault]:
    if item.request_redirect is not None and item.request_redirect.path is not None:
        yield from _path(item.request_redirect.path, f"{where}.requestRedirect.path")
    if item.url_rewrite is not None:
        if item.url_rewrite.hostname is None and item.url_rewrite.path is None:
            yield Fault(f"{where}.urlRewrite", "write a hostname or a path; without either nothing is rewritten")
        if item.url_rewrite.path is not None:
            yield from _path(item.url_rewrite.path, f"{where}.urlRewrite.path")
    if item.cors is not None:
        yield from _cors(item.cors, f"{where}.cors")


def _headers(modifier: HeaderModifier, where: str) -> Iterator[Fault]:
    seen: set[str] = set()
    lists: tuple[tuple[str, Sequence[str]], ...] = (
        ("set", [item.name for item in modifier.set]),
        ("add", [item.name for item in modifier.add]),
        ("remove", modifier.remove),
    )
    if not any(names for _, names in lists):
        yield Fault(where, "write at least one of set, add and remove")
    for action, names in lists:
        for index, name in enumerate(names):
            lower = name.lower()
            place = f"{where}.{action}[{index}]" + ("" if action == "remove" else ".name")
            if lower in seen:
                yield Fault(place, f"{name} is named in this filter already; one header, one action")
            if lower in OURS:
                yield Fault(place, f"{name} belongs to the connection or its framing; it cannot be edited")
            seen.add(lower)
    for action, items in (("set", modifier.set), ("add", modifier.add)):
        for index, item in enumerate(items):
            yield from check_value(item, f"{where}.{action}[{index}].value")


def check_value(item: HeaderValue, place: str) -> Iterator[Fault]:
    if not item.value.isascii() or not item.value.isprintable():
        yield Fault(place, "a header value has printable ASCII only, no line breaks")
    elif item.value != item.value.strip():
        yield Fault(place, "a header value has no space at either end")


def _path(path: PathModifier, where: str) -> Iterator[Fault]:
    full = path.type == "ReplaceFullPath"
    wanted, other = ("replaceFullPath", "replacePrefixMatch") if full else ("replacePrefixMatch", "replaceFullPath")
    given, wrong = path.replace_full_path, path.replace_prefix_match
    if not full:
        given, wrong = wrong, given
    if given is None:
        yield Fault(f"{where}.{wanted}", f"a path modifier of type {path.type} needs this field")
    if wrong is not None:
        yield Fault(f"{where}.{other}", f"does not go with type {path.type}; take it out")


def _mirror(mirror: RequestMirror, where: str) -> Iterator[Fault]:
    backend = mirror.backend_ref
    if backend.kind != "Service" or backend.group != "":
        yield Fault(f"{where}.backendRef.kind", "requests can be mirrored to Services only", ("Service",))
    if mirror.percent is not None and mirror.fraction is not None:
        yield Fault(f"{where}.fraction", "write percent or fraction, not both")
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        yield Fault(f"{where}.fraction.numerator", "must not be more than the denominator")


def _cors(cors: CorsFilter, where: str) -> Iterator[Fault]:
    if not cors.allow_origins:
        yield Fault(f"{where}.allowOrigins", "name at least one origin; without it the filter allows nobody")
    for name, values in (
        ("allowOrigins", cors.allow_origins),
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
        ("exposeHeaders", cors.expose_headers),
    ):
        if "*" in values and len(values) > 1:
            yield Fault(f"{where}.{name}", "'*' is all there is; take the others out")


def _together(rule: HTTPRouteRule, place: str) -> Iterator[Fault]:
    types = [item.type for item in rule.filters]
    if "RequestRedirect" in types:
        index = types.index("RequestRedirect")
        if "URLRewrite" in types:
            yield Fault(f"{place}.filters[{index}].type", "RequestRedirect and URLRewrite cannot be in one rule")
        if rule.backend_refs:
            yield Fault(f"{place}.backendRefs", "a rule with a RequestRedirect answers by itself; take these out")
    for index, item in enumerate(rule.filters):
        path = item.request_redirect.path if item.request_redirect else None
        path = item.url_rewrite.path if item.url_rewrite else path
        if path is not None and path.type == "ReplacePrefixMatch":
            yield from _needs_prefix(rule, f"{place}.filters[{index}]")
    for number, backend in enumerate(rule.backend_refs):
        for index, own in enumerate(backend.filters):
            rewrite = own.url_rewrite if isinstance(own, HTTPFilter) else None
            if rewrite and rewrite.path and rewrite.path.type == "ReplacePrefixMatch":
                yield from _needs_prefix(rule, f"{place}.backendRefs[{number}].filters[{index}]")


def _needs_prefix(rule: HTTPRouteRule, where: str) -> Iterator[Fault]:
    """Without matches there is one: the prefix `/`."""
    if any(match.path.type != "PathPrefix" for match in rule.matches):
        yield Fault(where, "ReplacePrefixMatch needs matches of type PathPrefix: there is no prefix to replace else")
