"""Expressions, from documents to requests: what control lets through every sidecar takes, and none is slow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.documents.parse import parse_raw
from remora.documents.routes import compile_routes
from remora.documents.services import compile_service
from remora.model.regex import MAX_MEMORY, RegexError, compile_regex
from remora.model.snapshot import Snapshot
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.wire.heads import RequestHead

PIECES = ["a", "b", "/", ".", "*", "+", "?", "|", "(", ")", "(?i)", "(?:", "[", "]", "^", "$", "{2}", "{1000}", "\\"]
TEXTS = st.lists(st.sampled_from([*PIECES, "\\Q", "\\E", "\\d", "\\1", "é", "\0"]), min_size=1, max_size=12).map(
    "".join
)


def expression(text: str) -> dict[str, str]:
    return {"type": "RegularExpression", "name": "a", "value": text}


def method(service: str, name: str) -> dict[str, str]:
    return {"type": "RegularExpression", "service": service, "method": name}


HTTP = st.builds(
    lambda path, header, query: {
        "path": {"type": "RegularExpression", "value": path},
        "headers": [expression(header)],
        "queryParams": [expression(query)],
    },
    TEXTS,
    TEXTS,
    TEXTS,
)
GRPC = st.builds(lambda service, name: {"method": method(service, name)}, TEXTS, TEXTS)


@given(st.tuples(st.just("HTTPRoute"), HTTP) | st.tuples(st.just("GRPCRoute"), GRPC))
def test_what_control_lets_through_every_sidecar_takes(found: tuple[str, dict[str, Any]]) -> None:
    kind, match = found
    document = parse_raw(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "r"},
            "spec": {
                "parentRefs": [{"kind": "Service", "group": "", "name": "shop"}],
                "rules": [{"matches": [match], "backendRefs": [{"name": "shop"}]}],
            },
        }
    )
    if isinstance(document, tuple):
        return
    ((name, routes),) = compile_routes(document, 1, 1).items()  # type: ignore[arg-type]
    table = RouteTable(Snapshot(1, {name: compile_service(name, routes, None)}), "default")
    table.services[name].route(RequestHead(b"POST", b"/a/b?a=b", b"shop", [(b"a", b"b\xff")]))


@pytest.mark.parametrize("text", ["a{1001}", "(a{100}){100}", "a{1000}" * 120, "(?=a)", "(a)\\1", "(", "[b-a]", "*"])
def test_what_is_large_or_cannot_be_matched_in_linear_time_is_none(text: str) -> None:
    with pytest.raises(RegexError):
        compile_regex(text)
    assert MAX_MEMORY == 1 << 20


@pytest.mark.parametrize(
    ("text", "pump"), [("(a+)+$", "a"), ("(a|a)*b", "a"), ("(.*,){11}P", "x,"), ("(.*; *)?g=1", "a=2; ")]
)
def test_what_ruins_others_is_matched_at_once(text: str, pump: str) -> None:
    assert compile_regex(text).fullmatch(pump.encode() * 20_000 + b"!") is None
