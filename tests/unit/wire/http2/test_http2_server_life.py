"""How connections of our server's end begin and end: taken over, drained, idle, stalled, lost."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http2 import Http2Limits, Http2ServerConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import ResetReason
from remora.sidecar.wire.watch import Watch
from tests.support.http2 import REQUEST, BufferedTransport, ServerPlay
from tests.support.wire import Requests

OK = ResponseHead(200, [(b"x-a", b"1")])


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


@pytest.mark.parametrize(
    "pseudo",
    [
        [(b":method", b"CONNECT"), (b":authority", b"db:5432")],
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *REQUEST[1:]],
    ],
    ids=["CONNECT", "extended CONNECT"],
)
async def test_who_asks_for_a_tunnel_owes_no_body(pseudo: list[tuple[bytes, bytes]]) -> None:
    limits = Http2Limits(request=RequestLimits(body_timeout_s=30.0))
    play = ServerPlay(limits=limits, validate=False, watch=Watch(5.0))
    play.peer.send_headers(1, pseudo)
    await play.talk()
    for _ in range(20):
        play.connection.on_watch()
    assert play.last.reset is None


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
