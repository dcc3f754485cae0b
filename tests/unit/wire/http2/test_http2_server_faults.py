"""What our server's end makes of a client that breaks the rules: malformed requests, broken frames."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

from remora.sidecar.wire.http2 import PREFACE, Http2ServerConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.stream import ResetReason
from tests.support.http2 import REQUEST, BufferedTransport, ServerPlay
from tests.support.wire import Requests


@pytest.mark.parametrize(
    "fields",
    [
        [*REQUEST, (b"X-Upper", b"1")],
        [*REQUEST, (b"x-a", b"1\r\n2")],
        [*REQUEST, (b"x-a", b"1\x00")],
        [*REQUEST, (b"x-a", b" 1")],
        [*REQUEST, (b"x a", b"1")],
        [*REQUEST, (b"", b"1")],
        [*REQUEST, (b"connection", b"close")],
        [*REQUEST, (b"transfer-encoding", b"chunked")],
        [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"host", b"another")],
        [*REQUEST, (b"content-length", b"-1")],
        [*REQUEST, (b"content-length", b"1")],
        [*REQUEST, (b"content-length", b"0"), (b"content-length", b"1")],
        [*REQUEST, (b":path", b"/b")],
        [*REQUEST, (b":status", b"200")],
        [*REQUEST, (b":protocol", b"websocket")],
        [*REQUEST[:3], (b"x-a", b"1"), REQUEST[3]],
        REQUEST[1:],
        [REQUEST[0], *REQUEST[2:]],
        [*REQUEST[:2], REQUEST[3]],
        [*REQUEST[:2], (b":path", b""), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"a"), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"/a b"), REQUEST[3]],
        [(b":method", b"CONNECT"), *REQUEST[1:]],
        [(b":method", b"GET /b HTTP/1.1"), *REQUEST[1:]],
        [(b":method", b"GET\t"), *REQUEST[1:]],
        [*REQUEST[:2], (b":path", b"/a HTTP/1.1\r\nx: y"), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"/a\x01"), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"/a#b"), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"*"), REQUEST[3]],
        [*REQUEST[:2], (b":path", b"http://b/"), REQUEST[3]],
        [*REQUEST[:3], (b":authority", b"a b")],
        [*REQUEST[:3], (b":authority", b"a@b")],
        [*REQUEST[:3], (b":authority", b"a/b")],
        [*REQUEST[:3], (b":authority", b"a,b")],
        [*REQUEST[:3], (b":authority", b"a\r\nhost: b")],
        [*REQUEST[:3], (b"host", b"a/b")],
        [*REQUEST[:3], (b"host", b"a"), (b"host", b"b")],
        [REQUEST[0], (b":scheme", b"ht tp"), *REQUEST[2:]],
        [*REQUEST, (b"keep-alive", b"1")],
        [*REQUEST, (b"upgrade", b"websocket")],
        [*REQUEST, (b"proxy-connection", b"close")],
        [*REQUEST, (b"http2-settings", b"x")],
        [*REQUEST, (b"x-a:", b"1")],
        [*REQUEST, (b"x\r\ny", b"1")],
        [*REQUEST, (b"content-length", b"1 ")],
        [*REQUEST, (b"content-length", b"+1")],
        [*REQUEST, (b"content-length", b"1,1")],
        [*REQUEST, (b"content-length", b"1" * 30)],
        [*REQUEST, (b"x-a", b"a\x01b")],
        [*REQUEST, (b"x-a", b"\x0c")],
        [*REQUEST, (b"x-a", b"a\x7f")],
        [*REQUEST, (b"content-type", b"a\x01")],
        [*REQUEST, (b"traceparent", b"a\x01")],
        [*REQUEST[:3], (b":authority", b"a\tb")],
        [*REQUEST[:3], (b":authority", b"a\xe9")],
        [*REQUEST[:3], (b":authority", b"a<b")],
        [*REQUEST[:3], (b"host", b"a\x0c")],
        [(b":method", b"G\xc9T"), *REQUEST[1:]],
    ],
)
async def test_malformed_requests_are_reset_and_others_go_on(fields: list[tuple[bytes, bytes]]) -> None:
    play = ServerPlay(validate=False)
    # Twice: what was malformed once must not be taken from memory as good.
    for stream_id in (1, 3):
        play.peer.send_headers(stream_id, fields, end_stream=True)
    await play.talk()
    assert [(event.stream_id, event.error_code) for event in play.all(StreamReset)] == [
        (1, ErrorCodes.PROTOCOL_ERROR),
        (3, ErrorCodes.PROTOCOL_ERROR),
    ]
    assert play.requests.heard == []
    assert (await play.ask()).ended


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ([*REQUEST, *((b"x-%d" % number, b"v") for number in range(101))], b"431", b"too_many_fields"),
        ([*REQUEST, *((b"x-%d" % number, b"v" * 4000) for number in range(20))], b"431", b"head_too_large"),
        ([*REQUEST[:2], (b":path", b"/" * 9000), REQUEST[3]], b"414", b"target_too_long"),
    ],
)
async def test_heads_over_a_limit_are_answered(fields: list[tuple[bytes, bytes]], status: bytes, code: bytes) -> None:
    play = ServerPlay()
    play.peer.send_headers(1, fields)
    await play.talk()
    answer = dict(play.one(ResponseReceived).headers)
    assert (answer[b":status"], answer[b"x-mesh-error"]) == (status, code)
    assert play.one(StreamReset).error_code == ErrorCodes.NO_ERROR
    assert play.requests.heard == []
    assert (await play.ask()).ended


@pytest.mark.parametrize("body", [b"123", b"12345"])
async def test_a_body_that_is_not_as_long_as_promised_is_reset(body: bytes) -> None:
    play = ServerPlay(validate=False)
    heard = await play.ask((b"content-length", b"4"), end=False)
    # Written by hand, since h2 checks it too.
    play.raw(wire.frame_head(len(body), wire.DATA, wire.END_STREAM, 1) + body)
    await play.talk()
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert play.one(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n........", ErrorCodes.PROTOCOL_ERROR),
        (PREFACE + wire.ping_frame(b"12345678", 0), ErrorCodes.PROTOCOL_ERROR),
    ],
)
async def test_a_wrong_start_closes(data: bytes, code: ErrorCodes) -> None:
    connection, transport = Http2ServerConnection(Requests()), BufferedTransport()
    connection.connection_made(transport)
    connection.data_received(data)
    assert transport.closed
    assert b"\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00" + code.to_bytes(4, "big") in transport.written


GOOD_BLOCK = b"\x83\x86\x84\x01\x01a"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (wire.frame_head(16385, wire.DATA, 0, 1), ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(1, wire.DATA, 0, 1) + b"x", ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(1, wire.DATA, 0, 0) + b"x", ErrorCodes.PROTOCOL_ERROR),
        (wire.headers_frames(2, GOOD_BLOCK, True, 16384), ErrorCodes.PROTOCOL_ERROR),
        (wire.headers_frames(0, GOOD_BLOCK, True, 16384), ErrorCodes.PROTOCOL_ERROR),
        (wire.headers_frames(1, b"\xff\xff\xff\xff\xff\xff", True, 16384), ErrorCodes.COMPRESSION_ERROR),
        (wire.frame_head(0, wire.HEADERS, 0, 1) + wire.ping_frame(b"12345678", 0), ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(0, wire.CONTINUATION, 4, 1), ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(0, wire.HEADERS, 0, 1) + wire.frame_head(0, wire.CONTINUATION, 4, 3), 1),
        (wire.frame_head(2, wire.HEADERS, 4 | wire.PADDED, 1) + b"\x05x", ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(2, wire.HEADERS, 4 | wire.HAS_PRIORITY, 1) + b"xx", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(7, wire.PING, 0, 0) + b"1234567", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(8, wire.PING, 0, 1) + b"12345678", ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(5, wire.SETTINGS, 0, 0) + b"12345", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(6, wire.SETTINGS, wire.ACK, 0) + b"123456", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.settings_frame({wire.INITIAL_WINDOW_SIZE: 2**31}), ErrorCodes.FLOW_CONTROL_ERROR),
        (wire.settings_frame({wire.MAX_FRAME_SIZE: 1}), ErrorCodes.PROTOCOL_ERROR),
        (wire.settings_frame({wire.ENABLE_PUSH: 2}), ErrorCodes.PROTOCOL_ERROR),
        (wire.window_update_frame(0, 0), ErrorCodes.PROTOCOL_ERROR),
        (wire.window_update_frame(0, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
        (wire.window_update_frame(7, 1), ErrorCodes.PROTOCOL_ERROR),
        (wire.rst_stream_frame(7, 8), ErrorCodes.PROTOCOL_ERROR),
        (wire.rst_stream_frame(0, 8), ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(3, wire.RST_STREAM, 0, 1) + b"123", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(4, wire.PUSH_PROMISE, 4, 1) + b"1234", ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(7, wire.GOAWAY, 0, 0) + b"1234567", ErrorCodes.FRAME_SIZE_ERROR),
        (wire.frame_head(5, wire.PRIORITY, 0, 0) + b"12345", ErrorCodes.PROTOCOL_ERROR),
    ],
)
async def test_broken_frames_close_the_connection(data: bytes, code: int) -> None:
    play = ServerPlay()
    await play.talk()
    play.raw(data)
    await play.talk()
    assert play.one(ConnectionTerminated).error_code == code
    assert play.transport.closed


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (wire.window_update_frame(1, 0), ErrorCodes.PROTOCOL_ERROR),
        (wire.window_update_frame(1, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
        (wire.headers_frames(1, b"\x00\x01a\x01b", False, 16384), ErrorCodes.PROTOCOL_ERROR),
        (wire.headers_frames(1, b"\x88", True, 16384), ErrorCodes.PROTOCOL_ERROR),
        (wire.frame_head(4, wire.PRIORITY, 0, 1) + b"1234", ErrorCodes.FRAME_SIZE_ERROR),
        (
            wire.frame_head(0, wire.DATA, wire.END_STREAM, 1) + wire.frame_head(0, wire.DATA, wire.END_STREAM, 1),
            ErrorCodes.STREAM_CLOSED,
        ),
    ],
)
async def test_broken_frames_of_one_stream_reset_it_alone(data: bytes, code: int) -> None:
    play = ServerPlay()
    await play.ask(end=False)
    play.raw(data)
    await play.talk()
    assert play.one(StreamReset).error_code == code
    assert play.connection.live_streams == 0
    assert not play.transport.closed
