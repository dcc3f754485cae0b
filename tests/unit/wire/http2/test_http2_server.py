"""Our server's end, played against h2 as the client."""

from __future__ import annotations

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
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.stream import ResetReason
from tests.support.http2 import REQUEST, ServerPlay
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


async def test_unknown_frames_padding_and_priority_are_harmless() -> None:
    play = ServerPlay()
    play.peer.send_headers(1, REQUEST, priority_weight=20, priority_exclusive=True)
    play.peer.prioritize(1, weight=30)
    play.raw(play.peer.data_to_send() + wire.frame_head(3, 0xFA, 0xFF, 9) + b"abc")
    play.peer.send_data(1, b"body", pad_length=7, end_stream=True)
    await play.talk()
    assert (play.last.data, play.last.ended) == (b"body", True)


@settings(max_examples=60)
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
