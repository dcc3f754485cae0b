"""What types cannot say about matches, of routes and of policies for some requests only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from remora.documents.common_checks import check_twice
from remora.documents.errors import Fault
from remora.documents.fields import URL_PATH
from remora.documents.gateway import (
    GRPCMethodMatch,
    GRPCRouteMatch,
    HeaderMatch,
    HTTPRouteMatch,
    PathMatch,
    QueryParamMatch,
)
from remora.documents.routes import grpc_path
from remora.model.regex import RegexError, compile_regex

_NEVER_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NEVER_AT_END = ("/.", "/..")
_PATH = re.compile(URL_PATH)
_GRPC_SERVICE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*\Z")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


def check_match(match: HTTPRouteMatch | GRPCRouteMatch, place: str) -> Iterator[Fault]:
    yield from check_twice(match.headers, _header_name, f"{place}.headers", "name")
    yield from _texts(match.headers, f"{place}.headers")
    if isinstance(match, HTTPRouteMatch):
        yield from _path(match.path, f"{place}.path.value")
        yield from check_twice(match.query_params, lambda param: param.name, f"{place}.queryParams", "name")
        yield from _texts(match.query_params, f"{place}.queryParams")
    elif match.method is not None:
        yield from _grpc_method(match.method, f"{place}.method")


def _header_name(header: HeaderMatch) -> str:
    return header.name.lower()


def _texts(matches: Iterable[HeaderMatch | QueryParamMatch], place: str) -> Iterator[Fault]:
    for index, match in enumerate(matches):
        if match.type == "RegularExpression":
            yield from _regex(match.value, f"{place}[{index}].value")


def _path(path: PathMatch, place: str) -> Iterator[Fault]:
    if path.type == "RegularExpression":
        yield from _regex(path.value, place)
        return
    if _PATH.match(path.value) is None:
        form = "an absolute path: it starts with '/' and has only characters that a URL path may have"
        yield Fault(place, f"{path.value!r} is not {form}")
        return
    for part in _NEVER_IN_PATHS:
        if part in path.value:
            yield Fault(place, f"{path.value!r} must not contain {part!r}")
            return
    if path.value.endswith(_NEVER_AT_END):
        yield Fault(place, f"{path.value!r} must not end with a '.' or '..' segment")


def _grpc_method(method: GRPCMethodMatch, place: str) -> Iterator[Fault]:
    if not method.service and not method.method:
        yield Fault(place, "write a service, a method, or both")
        return
    found = list(_grpc_names(method, place))
    yield from found
    if not found and method.type == "RegularExpression":
        # What is matched is one expression of both names: each may be good, and both together not.
        yield from _regex(grpc_path(method).value, place)


def _grpc_names(method: GRPCMethodMatch, place: str) -> Iterator[Fault]:
    for field, value, form in (
        ("service", method.service, _GRPC_SERVICE),
        ("method", method.method, _GRPC_METHOD),
    ):
        if not value:
            continue
        if method.type == "RegularExpression":
            yield from _regex(value, f"{place}.{field}")
        elif form.match(value) is None:
            example = "service name such as shop.v1.Orders" if field == "service" else "method name such as GetOrder"
            yield Fault(f"{place}.{field}", f"{value!r} is not a full gRPC {example}")


def _regex(text: str, place: str) -> Iterator[Fault]:
    try:
        compile_regex(text)
    except RegexError as error:
        yield Fault(place, f"{text!r} is not a regular expression of RE2: {error}")
