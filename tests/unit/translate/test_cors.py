"""Pages that may call what is translated: those of --cors-origin, and all that calls need."""

from __future__ import annotations

from remora.sidecar.translate.cors import Pages
from remora.sidecar.wire.heads import RequestHead
from tests.unit.exchange.played import Downstream

SHOP = "https://shop.example"


def asked(method: bytes = b"OPTIONS", **fields: str) -> RequestHead:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return RequestHead(method, b"/", b"shop", given)


def test_a_preflight_of_an_allowed_page_gets_all_that_a_call_needs() -> None:
    stream = Downstream()
    head = asked(origin=SHOP, access_control_request_method="POST", access_control_request_headers="x-a, authorization")
    assert Pages({SHOP}).answer_preflight(stream, head)
    assert stream.heads[0].status == 204
    fields = dict(stream.heads[0].fields)
    assert fields == {
        b"access-control-allow-origin": SHOP.encode(),
        b"vary": b"origin",
        b"access-control-allow-methods": b"GET, POST, PUT, PATCH, DELETE",
        b"access-control-allow-headers": b"x-a, authorization",
        b"access-control-max-age": b"86400",
    }


def test_a_preflight_of_another_page_is_refused_with_a_reason() -> None:
    stream = Downstream()
    head = asked(origin="https://evil.example", access_control_request_method="POST")
    assert Pages({SHOP}).answer_preflight(stream, head)
    assert stream.heads[0].status == 403
    assert b"--cors-origin does not name it" in stream.data


def test_what_is_no_preflight_goes_on() -> None:
    stream = Downstream()
    assert not Pages({"*"}).answer_preflight(stream, asked(origin=SHOP))
    assert not Pages({"*"}).answer_preflight(stream, asked(access_control_request_method="POST"))
    assert stream.heads == []


def test_answers_say_who_may_read_them() -> None:
    pages = Pages({SHOP})
    allowed = pages.answer_fields(asked(b"POST", origin=SHOP))
    assert (b"access-control-allow-origin", SHOP.encode()) in allowed
    assert (b"access-control-expose-headers", b"*") in allowed
    assert pages.answer_fields(asked(b"POST", origin="https://evil.example")) == []
    assert pages.answer_fields(asked(b"POST")) == []
