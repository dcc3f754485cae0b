"""CORS rules, by the Fetch standard and Gateway API's filter."""

from __future__ import annotations

import pytest

from remora.model.routes import Cors, Filters
from remora.sidecar.routing.cors import CorsRule, is_preflight
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.wire.heads import RequestHead, ResponseHead


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("*", b"https://any.example", True),
        ("https://shop.example", b"https://shop.example", True),
        ("https://shop.example", b"http://shop.example", False),
        ("https://shop.example", b"https://shop.example:8443", False),
        ("https://shop.example:8443", b"https://shop.example:8443", True),
        ("https://shop.example:*", b"https://shop.example:8443", True),
        ("https://*.shop.example", b"https://a.shop.example", True),
        ("https://*.shop.example", b"https://a.b.shop.example", True),
        ("https://*.shop.example", b"https://shop.example", False),
        ("https://*.shop.example", b"https://evilshop.example", False),
        ("https://*.shop.example", b"https://.shop.example", False),
        ("https://*", b"https://any.example", True),
        ("https://*", b"http://any.example", False),
        ("https://shop.example", b"null", False),
        ("https://shop.example", b"HTTPS://SHOP.EXAMPLE", True),
        ("http://[::1]:*", b"http://[::1]:3000", True),
        ("http://[::1]", b"http://[::1]:80", True),
        ("https://shop.example:443", b"https://shop.example", True),
        ("http://shop.example", b"http://shop.example:80", True),
        ("http://shop.example", b"http://shop.example:443", False),
        ("app://shop", b"app://shop", True),
    ],
)
def test_origins(pattern: str, origin: bytes, allowed: bool) -> None:
    assert CorsRule(Cors((pattern,))).allows(origin) == allowed


def preflight(**fields: str) -> RequestHead:
    given = {"origin": "https://a", "access-control-request-method": "PUT", **fields}
    return RequestHead(b"OPTIONS", b"/", b"shop", [(name.encode(), value.encode()) for name, value in given.items()])


def test_a_preflight_is_told_what_is_allowed() -> None:
    rule = CorsRule(Cors(("https://a",), methods=("GET", "PUT"), headers=("x-a", "x-b"), max_age_s=60))
    assert dict(rule.preflight_fields(preflight(), b"https://a")) == {
        b"access-control-allow-origin": b"https://a",
        b"vary": b"origin",
        b"access-control-allow-methods": b"GET, PUT",
        b"access-control-allow-headers": b"x-a, x-b",
        b"access-control-max-age": b"60",
    }


def test_wildcards_say_what_was_asked_for() -> None:
    rule = CorsRule(Cors(("*",), credentials=True, methods=("*",), headers=("*",)))
    asked = preflight(**{"access-control-request-headers": "authorization, x-a"})
    fields = dict(rule.preflight_fields(asked, b"https://a"))
    assert fields[b"access-control-allow-origin"] == b"https://a"
    assert fields[b"access-control-allow-methods"] == b"PUT"
    assert fields[b"access-control-allow-headers"] == b"authorization, x-a"
    assert fields[b"access-control-allow-credentials"] == b"true"


def test_other_answers_say_what_may_be_read() -> None:
    assert CorsRule(Cors(("*",), expose=("x-a",))).edit([(b"x-a", b"1")], b"https://a") == [
        (b"x-a", b"1"),
        (b"access-control-allow-origin", b"https://a"),
        (b"vary", b"origin"),
        (b"access-control-expose-headers", b"x-a"),
    ]


def test_what_an_app_says_itself_gives_way() -> None:
    said = [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"x-own"),
        (b"vary", b"accept"),
    ]
    assert CorsRule(Cors(("*",), expose=("x-a",))).edit(said, b"https://a") == [
        (b"vary", b"accept"),
        (b"access-control-allow-origin", b"https://a"),
        (b"vary", b"origin"),
        (b"access-control-expose-headers", b"x-a"),
    ]
    assert (b"Access-Control-Expose-Headers", b"x-own") in CorsRule(Cors(("*",))).edit(said, b"https://a")


def test_with_credentials_all_fields_are_exposed_by_name() -> None:
    rule = CorsRule(Cors(("*",), credentials=True, expose=("*",)))
    fields = dict(rule.edit([(b"X-A", b"1"), (b"x-a", b"2"), (b"x-b", b"3")], b"https://a"))
    assert fields[b"access-control-expose-headers"] == b"x-a, x-b"


def test_what_a_preflight_is() -> None:
    assert is_preflight(preflight())
    assert not is_preflight(RequestHead(b"OPTIONS", b"/", b"shop", [(b"origin", b"https://a")]))
    asking = [(b"access-control-request-method", b"PUT")]
    assert not is_preflight(RequestHead(b"OPTIONS", b"/", b"shop", asking))
    assert not is_preflight(RequestHead(b"GET", b"/", b"shop", preflight().fields))


def test_an_answer_to_nobody_elsewhere_says_nothing_of_origins() -> None:
    filters = CompiledFilters(Filters(cors=Cors(("https://a",))), "")
    for origin, told in (
        (b"https://a", [(b"access-control-allow-origin", b"https://a"), (b"vary", b"origin")]),
        (b"", []),
    ):
        head = ResponseHead(200, [])
        filters.edit_response(head, origin)
        assert head.fields == told
    asked = RequestHead(b"GET", b"/", b"shop", [(b"Origin", b"https://b")])
    assert filters.origin(asked) == b""
    asked.fields = [(b"Origin", b"https://a")]
    assert filters.origin(asked) == b"https://a"
