"""Our server's end, played against h2 as the client."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http2 import PREFACE, Http2Limits, Http2ServerConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import ResetReason
from remora.sidecar.wire.watch import Watch
from tests.support.http2 import REQUEST, BufferedTransport, ServerPlay
from tests.support.wire import Requests

OK = ResponseHead(200, [(b"x-a", b"1")])


async def test_a_unary_grpc_call() -> None:
    play = ServerPlay()
    heard = await play.ask(
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1S"),
        (b"traceparent", b"00-1"),
        (b"x-request-id", b"r1"),
        (b"x-b", b"2"),
        body=b"question",
    )
    head = heard.head
    assert (head.method, head.scheme, head.path, head.authority) == (b"POST", b"http", b"/a", b"greeter:80")
    assert head.is_grpc
    assert (head.grpc_timeout, head.trace_parent, head.request_id) == (b"1S", b"00-1", b"r1")
    assert head.fields == [(b"te", b"trailers"), (b"x-b", b"2")]
    assert (heard.data, heard.ended) == (b"question", True)

    heard.stream.send_head(ResponseHead(200, [(b"Content-Type", b"application/grpc")]), False)
    heard.stream.send_data(b"answer", False)
    heard.stream.send_trailers([(b"grpc-status", b"0")])
    await play.talk()
    assert play.one(ResponseReceived).headers == [(b":status", b"200"), (b"content-type", b"application/grpc")]
    assert play.one(DataReceived).data == b"answer"
    assert play.one(TrailersReceived).headers == [(b"grpc-status", b"0")]
    assert play.connection.live_streams == 0


async def test_trailers_of_a_request_and_trailers_only_answers() -> None:
    play = ServerPlay()
    heard = await play.ask(end=False, body=b"x")
    play.peer.send_headers(1, [(b"x-sum", b"1")], end_stream=True)
    await play.talk()
    assert heard.trailers == [(b"x-sum", b"1")]
    heard.stream.send_head(ResponseHead(200, [(b"grpc-status", b"12")]), True)
    await play.talk()
    assert play.all(StreamEnded)
    assert play.connection.live_streams == 0


async def test_informational_responses_come_before_the_final_one() -> None:
    play = ServerPlay()
    heard = await play.ask((b"expect", b"100-continue"), end=False)
    assert heard.head.expect_continue
    heard.stream.send_head(ResponseHead(100, []), False)
    heard.stream.send_head(OK, True)
    heard.stream.send_head(ResponseHead(500, []), True)
    await play.talk()
    assert play.one(InformationalResponseReceived).headers == [(b":status", b"100")]
    assert play.one(ResponseReceived).headers == [(b":status", b"200"), (b"x-a", b"1")]


async def test_cookie_crumbs_are_joined_in_place() -> None:
    heard = await ServerPlay().ask((b"cookie", b"a=1"), (b"x-b", b"2"), (b"cookie", b"b=2"))
    assert heard.head.fields == [(b"cookie", b"a=1; b=2"), (b"x-b", b"2")]


async def test_host_serves_where_there_is_no_authority() -> None:
    play = ServerPlay(validate=False)
    play.peer.send_headers(1, [*REQUEST[:3], (b"host", b"other")], end_stream=True)
    await play.talk()
    assert play.last.head.authority == b"other"
    assert play.last.head.fields == []


async def test_connect_has_an_authority_only() -> None:
    play = ServerPlay(validate=False)
    play.peer.send_headers(1, [(b":method", b"CONNECT"), (b":authority", b"db:5432")])
    await play.talk()
    assert (play.last.head.method, play.last.head.path, play.last.head.authority) == (b"CONNECT", b"", b"db:5432")


async def test_handlers_may_write_into_their_heads() -> None:
    play = ServerPlay()
    for _ in range(3):
        heard = await play.ask((b"x-request-id", b"same"))
        assert heard.head.request_id == b"same"
        assert heard.head.path == b"/a"
        heard.head.request_id = heard.head.path = b"changed"


async def test_what_varies_at_the_end_of_a_block_is_read_each_time() -> None:
    play = ServerPlay()
    for number in range(5):
        heard = await play.ask((b"x-b", b"2"), (b"traceparent", b"00-%d" % number), (b"x-request-id", b"%d" % number))
        assert (heard.head.trace_parent, heard.head.request_id) == (b"00-%d" % number, b"%d" % number)
        assert heard.head.fields == [(b"x-b", b"2")]


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
    ("reason", "code"),
    [
        (ResetReason.REFUSED, ErrorCodes.REFUSED_STREAM),
        (ResetReason.CANCELLED, ErrorCodes.CANCEL),
        (ResetReason.INTERNAL, ErrorCodes.INTERNAL_ERROR),
        (ResetReason.OVERLOADED, ErrorCodes.ENHANCE_YOUR_CALM),
        (ResetReason.PEER_RESET, ErrorCodes.CANCEL),
        (ResetReason.PROTOCOL_ERROR, ErrorCodes.PROTOCOL_ERROR),
    ],
)
async def test_reset_by_the_handler(reason: ResetReason, code: ErrorCodes) -> None:
    play = ServerPlay()
    heard = await play.ask()
    heard.stream.reset(reason)
    heard.stream.send_head(OK, True)
    await play.talk()
    assert play.one(StreamReset).error_code == code
    assert heard.reset is None
    assert play.connection.live_streams == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCodes.CANCEL, ResetReason.CANCELLED),
        (ErrorCodes.REFUSED_STREAM, ResetReason.REFUSED),
        (ErrorCodes.ENHANCE_YOUR_CALM, ResetReason.OVERLOADED),
        (ErrorCodes.INTERNAL_ERROR, ResetReason.PEER_RESET),
        (ErrorCodes.NO_ERROR, ResetReason.PEER_RESET),
        (0x1234, ResetReason.PEER_RESET),
    ],
)
async def test_reset_by_the_peer(code: int, reason: ResetReason) -> None:
    play = ServerPlay()
    heard = await play.ask()
    play.raw(wire.rst_stream_frame(1, code))
    assert heard.reset is reason
    assert play.connection.live_streams == 0
    heard.stream.send_head(OK, True)
    await play.talk()
    assert play.all(ResponseReceived) == []


async def test_an_early_answer_ends_the_rest_of_the_request_without_error() -> None:
    play = ServerPlay()
    heard = await play.ask(end=False, body=b"x")
    heard.stream.send_head(OK, False)
    heard.stream.send_data(b"enough", True)
    heard.stream.reset(ResetReason.CANCELLED)
    # On its way before the peer learns of it.
    play.peer.send_data(1, b"late", end_stream=False)
    await play.talk()
    assert play.one(DataReceived).data == b"enough"
    assert play.one(StreamReset).error_code == ErrorCodes.NO_ERROR
    assert heard.data == b"x"
    assert not play.transport.closed


async def test_an_early_answer_that_waits_for_windows_still_goes_out_whole() -> None:
    play = ServerPlay()
    heard = await play.ask(end=False)
    heard.stream.send_head(OK, False)
    heard.stream.send_data(b"y" * 100_000, True)
    heard.stream.reset(ResetReason.CANCELLED)
    play.peer.increment_flow_control_window(100_000)
    play.peer.increment_flow_control_window(100_000, 1)
    await play.talk()
    assert sum(len(event.data) for event in play.all(DataReceived)) == 100_000
    assert play.one(StreamReset).error_code == ErrorCodes.NO_ERROR


async def test_a_handler_may_answer_or_reset_within_the_factory() -> None:
    class Hasty(Requests):
        def __call__(self, stream, head, end):  # type: ignore[no-untyped-def]
            heard = super().__call__(stream, head, end)
            stream.send_head(ResponseHead(503, [], content_length=0), True)
            stream.reset(ResetReason.CANCELLED)
            return heard

    play = ServerPlay()
    play.connection._factory = Hasty()
    play.peer.send_headers(1, REQUEST)
    play.peer.send_headers(3, REQUEST, end_stream=True)
    await play.talk()
    assert [event.stream_id for event in play.all(ResponseReceived)] == [1, 3]
    assert [event.stream_id for event in play.all(StreamReset)] == [1]
    assert play.connection.live_streams == 0


async def test_streams_above_the_limit_are_refused() -> None:
    play = ServerPlay()
    for _ in range(100):
        await play.ask(end=False)
    play.peer.remote_settings.max_concurrent_streams = 1000
    play.peer.remote_settings.acknowledge()
    play.peer.send_headers(201, REQUEST)
    await play.talk()
    assert play.one(StreamReset).error_code == ErrorCodes.REFUSED_STREAM
    assert play.connection.live_streams == 100


async def test_drain_warns_then_takes_no_more_and_closes_after_the_last() -> None:
    play = ServerPlay()
    heard = await play.ask()
    play.connection.drain()
    await asyncio.sleep(0)
    assert wire.goaway_frame(2**31 - 1, 0, "draining") in play.transport.written
    # Crosses the warning: is served.
    play.raw(wire.headers_frames(3, b"\x83\x86\x84\x01\x01a", True, 16384))
    assert len(play.requests.heard) == 2
    play.raw(wire.ping_frame(b"draining", wire.ACK))
    assert wire.goaway_frame(3, 0, "draining") in play.transport.written
    play.raw(wire.headers_frames(5, b"\x83\x86\x84\x01\x01a", True, 16384))
    assert wire.rst_stream_frame(5, ErrorCodes.REFUSED_STREAM) in play.transport.written
    assert not play.transport.closed
    heard.stream.send_head(OK, True)
    play.last.stream.send_head(OK, True)
    assert play.transport.closed


async def test_a_body_that_stops_coming_is_answered_in_time() -> None:
    play = ServerPlay(limits=Http2Limits(request=RequestLimits(body_timeout_s=30.0)), watch=Watch(5.0))
    stalled = await play.ask(end=False, body=b"a")
    paused = await play.ask(end=False, body=b"a")
    paused.stream.pause()
    answered = await play.ask(end=False, body=b"a")
    answered.stream.send_head(OK, False)
    call = await play.ask((b"content-type", b"application/grpc+proto"), end=False)
    ended = await play.ask()
    slow = await play.ask(end=False)
    for _ in range(6):
        play.connection.on_watch()
        play.peer.send_data(11, b"x")
        await play.talk()
        assert stalled.reset is None
    play.connection.on_watch()
    await play.talk()
    assert stalled.reset is ResetReason.PROTOCOL_ERROR
    answer = next(event for event in play.all(ResponseReceived) if event.stream_id == 1)
    assert dict(answer.headers)[b":status"] == b"408"
    assert play.one(StreamReset).error_code == ErrorCodes.NO_ERROR
    assert [heard.reset for heard in (paused, answered, call, ended, slow)] == [None] * 5


async def test_a_body_that_comes_evenly_goes_on_coming() -> None:
    """As much between two looks as we give back of the window at once, of a body whose length nobody has said."""
    play = ServerPlay(limits=Http2Limits(request=RequestLimits(body_timeout_s=30.0)), watch=Watch(5.0))
    heard = await play.ask(end=False)
    for _ in range(10):
        for _ in range(2):
            play.peer.send_data(1, bytes(wire.DEFAULT_FRAME_BYTES))
        await play.talk()
        play.connection.on_watch()
    assert heard.reset is None


async def test_an_idle_connection_is_drained_in_the_end_whatever_it_pings() -> None:
    limits = Http2Limits(request=RequestLimits(idle_timeout_s=60.0))
    play = ServerPlay(limits=limits, watch=Watch(5.0))
    heard = await play.ask()

    async def look(times: int) -> None:
        for _ in range(times):
            play.connection.on_watch()
            play.peer.ping(b"12345678")
            await play.talk()

    await look(50)
    heard.stream.send_head(ResponseHead(200, [], content_length=0), True)
    await look(12)
    assert not play.all(ConnectionTerminated), "the answer may take its time"
    play.connection.on_watch()
    await asyncio.sleep(0)
    assert wire.goaway_frame(2**31 - 1, 0, "draining") in play.transport.take()
    play.raw(wire.ping_frame(b"draining", wire.ACK))
    assert wire.goaway_frame(1, 0, "draining") in play.transport.written
    assert play.transport.closed
    assert not play.transport.aborted


async def test_drain_does_not_wait_for_a_peer_that_does_not_answer() -> None:
    play = ServerPlay(limits=Http2Limits(drain_wait_s=0.001))
    closed = asyncio.Event()
    play.transport.write_eof = closed.set  # type: ignore[method-assign]
    await play.ask()
    play.connection.drain()
    play.last.stream.send_head(OK, True)
    async with asyncio.timeout(5):
        await closed.wait()


async def test_loss_of_the_connection_resets_what_lives_and_is_told_once() -> None:
    play = ServerPlay()
    alive = await play.ask(end=False)
    done = await play.ask()
    done.stream.send_head(OK, True)
    play.connection.connection_lost(None)
    play.connection.abort()
    assert alive.reset is ResetReason.PEER_RESET
    assert done.reset is None
    assert play.closed == [play.connection]


async def test_takes_over_a_transport_with_its_first_bytes() -> None:
    class Switchable(BufferedTransport):
        protocol: asyncio.BaseProtocol | None = None

        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
            self.protocol = protocol

    transport = Switchable()
    connection = Http2ServerConnection(Requests())
    play = ServerPlay()
    connection.attach(transport, play.peer.data_to_send()[:30])
    assert transport.protocol is connection
    connection.data_received(wire.headers_frames(1, b"", True, 16384))
    await asyncio.sleep(0)
    assert transport.written


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


async def test_unknown_frames_padding_and_priority_are_harmless() -> None:
    play = ServerPlay()
    play.peer.send_headers(1, REQUEST, priority_weight=20, priority_exclusive=True)
    play.peer.prioritize(1, weight=30)
    play.raw(play.peer.data_to_send() + wire.frame_head(3, 0xFA, 0xFF, 9) + b"abc")
    play.peer.send_data(1, b"body", pad_length=7, end_stream=True)
    await play.talk()
    assert (play.last.data, play.last.ended) == (b"body", True)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=40))
async def test_any_split_of_the_bytes_gives_the_same(cuts: list[int]) -> None:
    play = ServerPlay()
    script = play.peer.data_to_send()
    play.peer.send_headers(1, [*REQUEST, (b"x-big", b"b" * 1000)])
    play.peer.send_data(1, b"d" * 500, pad_length=3)
    play.peer.send_headers(1, [(b"x-t", b"1")], end_stream=True)
    play.peer.ping(b"12345678")
    play.peer.send_headers(3, REQUEST, end_stream=True)
    script += play.peer.data_to_send()
    edges = [0, *sorted(cut for cut in cuts if cut < len(script)), len(script)]
    for begin, end in itertools.pairwise(edges):
        play.raw(script[begin:end])
    first, second = play.requests.heard
    assert first.head.fields == [(b"x-big", b"b" * 1000)]
    assert (first.data, first.trailers) == (b"d" * 500, [(b"x-t", b"1")])
    assert second.ended
    await play.talk()
    assert not play.all(ConnectionTerminated)
