"""What a peer may not do: each flood ends with GOAWAY ENHANCE_YOUR_CALM, and an honest peer never meets the guard."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, StreamReset

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http2 import Http2Limits
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.http2.flood import TokenBucket
from remora.sidecar.wire.stream import ResetReason
from tests.support.http2 import ClientPlay, ServerPlay

BLOCK = b"\x83\x86\x84\x01\x01a"
PING = wire.ping_frame(b"12345678", 0)


def request(stream_id: int, end: bool = True) -> bytes:
    return wire.headers_frames(stream_id, BLOCK, end, 16384)


async def calm_down(play: ServerPlay) -> bool:
    """Whether the connection was closed as a flood."""
    await play.talk()
    ends = play.all(ConnectionTerminated)
    return bool(ends) and ends[0].error_code == ErrorCodes.ENHANCE_YOUR_CALM and play.transport.closed


@pytest.mark.parametrize(
    "frame",
    [
        PING,
        wire.settings_frame({}),
        wire.SETTINGS_ACK,
        wire.window_update_frame(0, 1),
        wire.frame_head(5, wire.PRIORITY, 0, 1) + b"\x00\x00\x00\x03\x01",
        wire.frame_head(0, wire.DATA, 0, 1),
        wire.frame_head(3, wire.DATA, wire.PADDED, 1) + b"\x02\x00\x00",
        wire.frame_head(0, 0xFA, 0, 0),
    ],
    ids=["ping", "settings", "settings-ack", "window-update", "priority", "empty-data", "padding", "unknown"],
)
async def test_frames_that_carry_nothing(frame: bytes) -> None:
    play = ServerPlay()
    await play.ask(end=False)
    play.transport.take()
    for _ in range(1100):
        play.raw(frame)
    # Not read by h2, which has its own opinion of such answers.
    assert play.transport.closed
    assert ErrorCodes.ENHANCE_YOUR_CALM.to_bytes(4, "big") in play.transport.written
    assert play.last.reset is not None


async def test_a_ping_for_each_read_of_a_busy_peer_is_fine() -> None:
    play = ServerPlay()
    await play.ask(end=False)
    for _ in range(3000):
        play.raw(wire.frame_head(1, wire.DATA, 0, 1) + b"x" + PING)
    assert not play.transport.closed


async def test_rapid_reset() -> None:
    play = ServerPlay(limits=Http2Limits(resets_per_s=0))
    await play.talk()
    for number in range(1200):
        stream_id = 2 * number + 1
        play.raw(request(stream_id) + wire.rst_stream_frame(stream_id, ErrorCodes.CANCEL))
    assert await calm_down(play)
    assert len(play.requests.heard) == 1001


@pytest.mark.parametrize(("served", "flood"), [(1, False), (0, True)])
async def test_callers_who_give_up_on_half_of_their_calls_are_no_flood(served: int, flood: bool) -> None:
    play = ServerPlay(limits=Http2Limits(resets_per_s=0))
    await play.talk()
    for number in range(3000):
        stream_id = 2 * number + 1
        play.raw(request(stream_id))
        if number % 2 < served:
            play.last.stream.send_head(ResponseHead(200, []), True)
        else:
            play.raw(wire.rst_stream_frame(stream_id, ErrorCodes.CANCEL))
    assert play.transport.closed == flood


async def test_a_server_that_resets_what_we_ask_is_no_flood() -> None:
    play = ClientPlay()
    await play.talk()
    for number in range(3000):
        heard = play.open()
        play.raw(wire.rst_stream_frame(2 * number + 1, ErrorCodes.REFUSED_STREAM))
        assert heard.reset is ResetReason.REFUSED
    assert not play.transport.closed


async def test_settings_without_end_in_one_frame() -> None:
    play = ServerPlay()
    await play.talk()
    settings = b"".join(b"\x00\x04\x00\x00\x00" + bytes((number,)) for number in range(100))
    play.raw(wire.frame_head(len(settings), wire.SETTINGS, 0, 0) + settings)
    assert await calm_down(play)


async def test_empty_data_on_a_stream_that_was_reset() -> None:
    play = ServerPlay()
    heard = await play.ask(end=False)
    heard.stream.reset(ResetReason.CANCELLED)
    for _ in range(1100):
        play.raw(wire.frame_head(0, wire.DATA, 0, 1))
    assert play.transport.closed


async def test_small_pieces_that_wait_are_put_together() -> None:
    """65,535 pieces of a byte, each an object of its own, would weigh fifty times what they are."""
    play = ServerPlay()
    heard = await play.ask()
    heard.stream.send_head(ResponseHead(200, []), False)
    play.connection.pause_writing()
    body = bytes(range(256)) * 100
    for byte in body:
        heard.stream.send_data(bytes((byte,)), False)
    (stream,) = play.connection.streams.values()
    assert stream.queued == len(body)
    assert len(stream.queue or ()) < 20
    play.connection.resume_writing()
    heard.stream.send_data(b"", True)
    await play.talk()
    assert b"".join(event.data for event in play.all(DataReceived)) == body


async def test_heads_that_never_end_are_not_waited_for() -> None:
    for begun in (b"", wire.frame_head(3, wire.HEADERS, 0, 1) + BLOCK[:3]):
        play = ServerPlay(limits=Http2Limits(head_timeout_s=0.01))
        if begun:
            await play.talk()
            play.raw(begun)
        async with asyncio.timeout(5):
            while not play.transport.closed:
                await asyncio.sleep(0.005)
        assert b"was not whole within 0.01 s" in play.transport.written


async def test_a_head_that_came_whole_is_not_timed() -> None:
    """In frames of three bytes, and in reads of three."""
    play = ServerPlay(limits=Http2Limits(head_timeout_s=0.3))
    await play.talk()
    play.raw(wire.headers_frames(1, BLOCK, True, 3))
    for stream_id, largest in ((3, 16_384), (5, 3)):
        data = wire.headers_frames(stream_id, BLOCK, True, largest)
        for offset in range(0, len(data), 3):
            play.raw(data[offset : offset + 3])
    await asyncio.sleep(0.6)
    assert not play.transport.closed


async def test_making_us_reset_is_rapid_reset_too() -> None:
    play = ServerPlay()
    await play.talk()
    for number in range(1200):
        stream_id = 2 * number + 1
        play.raw(request(stream_id) + wire.window_update_frame(stream_id, 0))
    assert play.transport.closed
    assert ErrorCodes.ENHANCE_YOUR_CALM.to_bytes(4, "big") in play.transport.written


async def test_streams_over_the_limit_are_refused_but_not_without_end() -> None:
    play = ServerPlay()
    await play.talk()
    for number in range(1200):
        play.raw(request(2 * number + 1, end=False))
    assert play.transport.closed
    assert len(play.requests.heard) == 100


async def test_continuation_without_end() -> None:
    for piece in (b"", b"x" * 16384):
        play = ServerPlay()
        await play.talk()
        play.raw(wire.frame_head(0, wire.HEADERS, 0, 1))
        for _ in range(64):
            play.raw(wire.frame_head(len(piece), wire.CONTINUATION, 0, 1) + piece)
        assert await calm_down(play)


async def test_a_block_that_unfolds_without_end() -> None:
    play = ServerPlay()
    await play.talk()
    # One entry of 4,000 bytes, then a thousand references to it.
    block = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 1000
    play.raw(wire.headers_frames(1, block, True, 16384))
    assert await calm_down(play)


async def test_a_peer_that_asks_and_never_reads_is_left() -> None:
    play = ServerPlay(limits=Http2Limits(max_unsent_bytes=1000))
    heard = await play.ask()
    play.connection.pause_writing()
    play.transport.unsent = 999
    play.raw(PING)
    assert not play.transport.aborted
    play.transport.unsent = 1001
    play.raw(PING)
    await asyncio.sleep(0)
    assert play.transport.aborted
    assert heard.reset is not None


async def test_many_served_requests_are_no_flood() -> None:
    play = ServerPlay()
    for _ in range(1500):
        heard = await play.ask()
        heard.stream.send_head(ResponseHead(200, []), True)
    await play.talk()
    assert not play.transport.closed
    assert not play.all(StreamReset)


def test_a_bucket_refills_with_time() -> None:
    bucket = TokenBucket(2, 10)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]
    assert bucket.take(100.25)
    assert not bucket.take(100.25)
    bucket.fill()
    assert bucket.take(100.25)
