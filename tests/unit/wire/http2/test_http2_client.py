"""Our client's end, played against h2 as the server."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.stream import ResetReason
from tests.support.http2 import ClientPlay
from tests.support.wire import Heard

STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS


async def test_a_unary_grpc_call() -> None:
    play = ClientPlay()
    heard = play.open(
        end=False,
        content_type=b"application/grpc",
        grpc_timeout=b"1S",
        trace_parent=b"00-1",
        request_id=b"r1",
        content_length=8,
        expect_continue=True,
    )
    heard.stream.send_data(b"question", True)
    await play.talk()
    assert sorted(play.one(RequestReceived).headers) == sorted(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/a"),
            (b":authority", b"greeter"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"expect", b"100-continue"),
            (b"content-length", b"8"),
            (b"grpc-timeout", b"1S"),
            (b"traceparent", b"00-1"),
            (b"x-request-id", b"r1"),
        ]
    )
    assert play.one(DataReceived).data == b"question"
    assert play.all(SettingsAcknowledged)

    play.peer.send_headers(1, [(b":status", b"100")])
    play.peer.send_headers(1, [(b":status", b"200"), (b"content-length", b"6"), (b"x-a", b"1")])
    play.peer.send_data(1, b"answer")
    play.peer.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
    await play.talk()
    (early, _), (head, _) = heard.heads
    assert (early.status, head.status, head.content_length) == (100, 200, 6)
    assert head.fields == [(b"x-a", b"1")]
    assert (heard.data, heard.trailers) == (b"answer", [(b"grpc-status", b"0")])
    assert (play.connection.live_streams, play.owner.freed) == (0, 1)


async def test_trailers_only_and_request_trailers() -> None:
    play = ClientPlay()
    heard = play.open(end=False)
    heard.stream.send_trailers([(b"X-Sum", b"1")])
    await play.talk()
    assert play.one(TrailersReceived).headers == [(b"x-sum", b"1")]
    play.peer.send_headers(1, [(b":status", b"200"), (b"grpc-status", b"12")], end_stream=True)
    await play.talk()
    assert heard.heads[0][1]
    assert play.owner.freed == 1


async def test_fields_are_made_fit_for_http2() -> None:
    play = ClientPlay()
    fields = [
        (b"X-Mixed", b" v "),
        (b"TE", b"gzip, trailers"),
        (b"Connection", b"x"),
        (b"Host", b"h"),
        (b"Upgrade", b"h2c"),
    ]
    play.connection.open(RequestHead(b"GET", b"/", b"a", fields), True, Heard())
    play.connection.open(RequestHead(b"GET", b"/", b"a", [(b"te", b"gzip")]), True, Heard())
    await play.talk()
    first, second = play.all(RequestReceived)
    assert first.headers[4:] == [(b"x-mixed", b"v"), (b"te", b"trailers")]
    assert second.headers[4:] == []


async def test_a_long_head_is_continued() -> None:
    play = ClientPlay()
    fields = [(b"x-%d" % number, b"v" * 5000) for number in range(8)]
    play.connection.open(RequestHead(b"GET", b"/", b"a", fields), True, Heard())
    await play.talk()
    assert play.one(RequestReceived).headers[4:] == fields


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
async def test_answers_without_a_body_may_promise_one(method: bytes) -> None:
    play = ClientPlay()
    heard = Heard()
    play.connection.open(RequestHead(method, b"/", b"a", []), True, heard)
    await play.talk()
    status = b"200" if method == b"HEAD" else b"304"
    play.raw(play.peer.data_to_send() or b"")
    play.peer.send_headers(1, [(b":status", status), (b"content-length", b"10")])
    play.raw(play.peer.data_to_send() + wire.frame_head(0, wire.DATA, wire.END_STREAM, 1))
    assert heard.reset is None
    assert heard.ended
    assert heard.heads[0][0].content_length == 10


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"1")],
        [(b":status", b"20")],
        [(b":status", b"101")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"X-A", b"1")],
        [(b":status", b"200"), (b"x-a", b"1\n")],
        [(b":status", b"200"), (b"content-length", b"x")],
        [(b":status", b"200"), *((b"x-a", b"1"),) * 101],
        [(b":status", b"200"), *((b"x-a", b"1" * 5000),) * 13],
    ],
)
async def test_malformed_responses_are_reset_and_others_go_on(headers: list[tuple[bytes, bytes]]) -> None:
    play = ClientPlay()
    heard, other = play.open(), play.open()
    await play.talk()
    play.peer.send_headers(3, [(b":status", b"200")], end_stream=True)
    # Not by h2, which would not send it.
    block = play.peer.encoder.encode(headers)
    play.raw(play.peer.data_to_send() + wire.headers_frames(1, block, True, 16384))
    await play.talk()
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert play.one(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR
    assert other.ended


@pytest.mark.parametrize("before", [[], [(b":status", b"103")]])
@pytest.mark.parametrize("data", [wire.frame_head(3, wire.DATA, 0, 1) + b"abc", wire.frame_head(0, wire.DATA, 1, 1)])
async def test_data_before_the_head_is_never_delivered(before: list[tuple[bytes, bytes]], data: bytes) -> None:
    play = ClientPlay()
    heard = play.open()
    await play.talk()
    if before:
        play.peer.send_headers(1, before)
    play.raw(play.peer.data_to_send() + data)
    assert (heard.data, heard.ended, heard.reset) == (b"", False, ResetReason.PROTOCOL_ERROR)


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")])
async def test_data_of_an_answer_that_has_no_body_is_never_delivered(method: bytes, status: bytes) -> None:
    play = ClientPlay()
    heard = Heard()
    play.connection.open(RequestHead(method, b"/", b"a", []), True, heard)
    await play.talk()
    play.peer.send_headers(1, [(b":status", status), (b"content-length", b"3")])
    play.raw(play.peer.data_to_send() + wire.frame_head(3, wire.DATA, 0, 1) + b"abc")
    assert (heard.data, heard.ended, heard.reset) == (b"", False, ResetReason.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCodes.REFUSED_STREAM, ResetReason.REFUSED),
        (ErrorCodes.CANCEL, ResetReason.CANCELLED),
        (ErrorCodes.ENHANCE_YOUR_CALM, ResetReason.OVERLOADED),
        (ErrorCodes.INTERNAL_ERROR, ResetReason.PEER_RESET),
    ],
)
async def test_reset_by_the_peer(code: ErrorCodes, reason: ResetReason) -> None:
    play = ClientPlay()
    heard = play.open()
    await play.talk()
    play.peer.reset_stream(1, code)
    await play.talk()
    assert heard.reset is reason
    assert play.owner.freed == 1


async def test_an_answer_that_wants_no_more_of_the_request() -> None:
    play = ClientPlay()
    heard = play.open(end=False)
    await play.talk()
    play.peer.send_headers(1, [(b":status", b"413")], end_stream=True)
    play.peer.reset_stream(1, ErrorCodes.NO_ERROR)
    await play.talk()
    assert heard.ended
    assert heard.reset is ResetReason.PEER_RESET
    heard.stream.send_data(b"more", True)
    await play.talk()
    assert not play.all(DataReceived)


async def test_cancel_by_the_handler_ignores_what_still_comes() -> None:
    play = ClientPlay()
    heard = play.open()
    await play.talk()
    heard.stream.reset(ResetReason.CANCELLED)
    play.peer.send_headers(1, [(b":status", b"200")])
    play.peer.send_data(1, b"late", end_stream=True)
    await play.talk()
    assert play.connection.live_streams == 0
    assert (heard.heads, heard.data, heard.reset) == ([], b"", None)
    assert play.connection.free_slots


async def test_free_slots_follow_the_peer() -> None:
    play = ClientPlay(settings={STREAMS: 2})
    assert play.connection.free_slots == 100
    await play.talk()
    assert play.connection.free_slots == 2
    play.open()
    play.open()
    await play.talk()
    assert play.connection.free_slots == 0
    play.peer.update_settings({STREAMS: 1})
    await play.talk()
    assert (play.connection.free_slots, play.owner.freed) == (0, 0)
    play.peer.update_settings({STREAMS: 5})
    await play.talk()
    assert (play.connection.free_slots, play.owner.freed) == (3, 1)


async def test_goaway_refuses_what_came_too_late_and_closes_after_the_rest() -> None:
    play = ClientPlay()
    first, second = play.open(), play.open()
    await play.talk()
    play.raw(wire.goaway_frame(1, 0, ""))
    assert (first.reset, second.reset) == (None, ResetReason.STALE)
    assert (play.connection.free_slots, play.owner.closed, play.transport.closed) == (0, 1, False)
    play.peer.send_headers(1, [(b":status", b"200")], end_stream=True)
    await play.talk()
    assert first.ended
    assert play.transport.closed
    play.connection.connection_lost(None)
    assert (play.owner.closed, play.owner.freed) == (1, 0)


async def test_drain_finishes_and_closes() -> None:
    play = ClientPlay()
    heard = play.open()
    await play.talk()
    play.connection.drain()
    play.connection.drain()
    assert (play.connection.free_slots, play.owner.closed, play.transport.closed) == (0, 1, False)
    play.peer.send_headers(1, [(b":status", b"200")], end_stream=True)
    await play.talk()
    assert heard.ended
    assert play.transport.closed
    assert play.one(ConnectionTerminated).error_code == ErrorCodes.NO_ERROR


async def test_loss_tells_what_was_never_sent() -> None:
    play = ClientPlay()
    sent = play.open()
    await play.talk()
    unsent = play.open()
    play.connection.connection_lost(ConnectionResetError())
    assert (sent.reset, unsent.reset) == (ResetReason.PEER_RESET, ResetReason.STALE)
    assert (play.owner.closed, play.connection.free_slots) == (1, 0)


async def test_the_owner_knows_before_the_streams_do() -> None:
    play = ClientPlay()
    slots: list[tuple[int, int]] = []

    class Retrying(Heard):
        def on_reset(self, reason: ResetReason) -> None:
            slots.append((play.owner.closed, play.connection.free_slots))

    play.connection.open(RequestHead(b"GET", b"/", b"a", []), True, Retrying())
    play.connection.connection_lost(None)
    assert slots == [(1, 0)]


async def test_stream_numbers_run_out() -> None:
    play = ClientPlay()
    play.connection._next_id = wire.MAX_STREAM_ID
    assert play.connection.free_slots
    play.open()
    assert (play.connection.free_slots, play.owner.closed, play.transport.closed) == (0, 1, False)


@pytest.mark.parametrize(
    "data",
    [
        wire.settings_frame({wire.ENABLE_PUSH: 1}),
        wire.headers_frames(3, b"\x88", True, 16384),
        wire.headers_frames(2, b"\x88", True, 16384),
        wire.frame_head(4, wire.PUSH_PROMISE, 4, 1) + b"1234",
    ],
)
async def test_a_broken_server_is_left(data: bytes) -> None:
    play = ClientPlay()
    heard = play.open()
    await play.talk()
    play.raw(data)
    await play.talk()
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert play.one(ConnectionTerminated).error_code == ErrorCodes.PROTOCOL_ERROR
    assert (play.owner.closed, play.transport.closed) == (1, True)


async def test_a_server_that_speaks_something_else_is_left() -> None:
    play = ClientPlay()
    heard = play.open()
    play.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert play.transport.closed


async def test_an_answer_before_the_end_of_the_request_leaves_the_stream_open() -> None:
    play = ClientPlay()
    heard = play.open(end=False)
    await play.talk()
    play.peer.send_headers(1, [(b":status", b"200")], end_stream=True)
    await play.talk()
    assert play.connection.live_streams == 1
    heard.stream.send_data(b"rest", True)
    await play.talk()
    assert play.all(StreamEnded)
    assert (play.connection.live_streams, play.owner.freed) == (0, 1)


async def test_a_cancelled_request_does_not_wait_for_its_body() -> None:
    play = ClientPlay()
    heard = play.open(end=False)
    heard.stream.send_data(b"x" * 200_000, True)
    await play.talk()
    heard.stream.reset(ResetReason.CANCELLED)
    await play.talk()
    assert play.one(StreamReset).error_code == ErrorCodes.CANCEL
    assert play.connection.live_streams == 0
