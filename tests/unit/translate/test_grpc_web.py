"""gRPC-Web calls, played, and driven by bytes of chance from both sides."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.translate.grpc_web import WebCall, trailers_frame
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.grpc_frames import framed
from tests.unit.translate.played import DONE, OK, Downstream, Upstream

TEXT = b"application/grpc-web-text"
BINARY = b"application/grpc-web+proto"


def head(kind: bytes = BINARY, fields: Fields | None = None) -> RequestHead:
    return RequestHead(b"POST", b"/s.S/M", b"a", fields or [], content_type=kind, grpc_timeout=b"1S")


def start(kind: bytes = BINARY, fields: Fields | None = None) -> tuple[Downstream, Upstream, WebCall]:
    downstream, upstream = Downstream(), Upstream()
    return downstream, upstream, WebCall.start(upstream, downstream, head(kind, fields), False, [])


def test_the_head_is_one_of_grpc() -> None:
    _, upstream, _ = start(fields=[(b"X-Grpc-Web", b"1"), (b"Accept", b"*/*"), (b"x-user", b"ada")])
    assert upstream.head is not None
    assert upstream.head.is_grpc
    assert upstream.head.content_type == b"application/grpc+proto"
    assert upstream.head.fields == [(b"x-user", b"ada"), (b"te", b"trailers")]
    assert (upstream.head.path, upstream.head.grpc_timeout) == (b"/s.S/M", b"1S")


def test_a_call_in_binary() -> None:
    downstream, upstream, call = start()
    call.on_data(framed(b"ask"), True)
    assert (upstream.data, upstream.ended) == (framed(b"ask"), True)
    call.send_head(OK, False)
    call.send_data(framed(b"answer"), False)
    call.send_trailers([(b"Grpc-Status", b"0"), (b"x-cost", b"1")])
    block = b"grpc-status: 0\r\nx-cost: 1\r\n"
    assert downstream.data == framed(b"answer") + b"\x80" + len(block).to_bytes(4, "big") + block
    assert downstream.ended


def test_an_answer_without_trailers_says_so() -> None:
    downstream, _, call = start()
    call.send_head(OK, False)
    call.send_data(framed(b"a"), True)
    assert b"grpc-status: 2\r\n" in downstream.data
    assert downstream.ended


def test_an_answer_that_is_not_grpc_is_given_up() -> None:
    downstream, upstream, call = start()
    call.send_head(ResponseHead(503, [(b"content-type", b"text/html")]), False)
    assert downstream.fields()["grpc-status"] == "14"
    assert upstream.resets == [ResetReason.BAD_ANSWER]
    call.send_data(b"<html>", True)
    assert downstream.data == b""


def test_bad_base64_ends_the_call_on_both_sides() -> None:
    downstream, upstream, call = start(TEXT)
    call.on_data(b"?!?!", False)
    assert upstream.resets == [ResetReason.PROTOCOL_ERROR]
    assert downstream.fields()["grpc-status"] == "3"
    assert downstream.resets == [ResetReason.CANCELLED]
    call.on_data(b"AAAA", True)
    assert upstream.data == b""


def test_interim_heads_and_backpressure_pass() -> None:
    downstream, upstream, call = start()
    call.send_head(ResponseHead(103, []), False)
    call.on_writable(False)
    assert ([head.status for head in downstream.heads], upstream.writable) == ([103], [False])


@given(st.lists(st.tuples(st.binary(min_size=1).map(lambda name: b"x" + name.hex().encode()), st.binary())))
def test_trailers_frames_say_how_long_they_are(trailers: Fields) -> None:
    frame = trailers_frame(trailers)
    assert frame[0] == 0x80
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 5


PIECES = st.lists(st.binary(max_size=30) | st.binary(max_size=12).map(base64.b64encode), max_size=6)
SAID = st.sampled_from(("data", "ask", "head", "trailers", "reset", "gone", "html", "writable"))


@settings(max_examples=300)
@given(st.sampled_from((TEXT, BINARY)), st.lists(st.tuples(SAID, st.binary(max_size=20), st.booleans()), max_size=12))
def test_whatever_comes_the_answer_is_well_formed(kind: bytes, said: list[tuple[str, bytes, bool]]) -> None:
    """Each side keeps to the rules of streams, and says what it likes in them; Downstream insists on the answer."""
    downstream, _, call = start(kind)
    asked = answered = begun = gone = False
    for what, data, end in said:
        if gone:
            break
        if what == "ask" and not asked:
            asked = end
            call.on_data(data, end)
        elif what == "gone":
            gone = True
            call.on_reset(ResetReason.PEER_RESET)
        elif what == "writable":
            call.on_writable(end)
        elif answered or (what in ("data", "trailers") and not begun):
            continue
        elif what in ("head", "html") and not begun:
            begun, answered = True, end
            call.send_head(OK if what == "head" else ResponseHead(404, []), end)
        elif what == "data":
            answered = end
            call.send_data(data, end)
        elif what == "trailers":
            answered = True
            call.send_trailers(DONE)
        elif what == "reset":
            answered = gone = True
            call.reset(ResetReason.INTERNAL)
    if answered and not gone:
        assert downstream.ended


@pytest.mark.parametrize(("accept", "text"), [(b"", True), (b"application/grpc-web", False), (TEXT, True)])
def test_text_is_answered_in_text_unless_asked_otherwise(accept: bytes, text: bool) -> None:
    downstream, _, call = start(TEXT, [(b"accept", accept)] if accept else [])
    call.send_head(OK, False)
    call.send_data(framed(b"a"), False)
    assert downstream.data == (base64.b64encode(framed(b"a")) if text else framed(b"a"))
