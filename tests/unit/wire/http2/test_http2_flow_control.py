"""Flow control, in both directions and on both levels (RFC 9113 §5.2, §6.9)."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded, StreamReset, TrailersReceived, WindowUpdated
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, RequestStream, ResetReason
from tests.support.http2 import ServerPlay
from tests.support.wire import Heard

OK = ResponseHead(200, [])
WINDOW = 64 * 1024
FRAME = 16 * 1024


def received(play: ServerPlay, stream_id: int) -> bytes:
    return b"".join(event.data for event in play.all(DataReceived) if event.stream_id == stream_id)


async def answering(play: ServerPlay) -> Heard:
    heard = await play.ask()
    heard.stream.send_head(OK, False)
    return heard


async def test_our_windows_are_the_contract() -> None:
    play = ServerPlay()
    await play.talk()
    assert play.peer.remote_settings.initial_window_size == WINDOW
    assert play.peer.outbound_flow_control_window == 1024 * 1024
    assert play.peer.remote_settings.max_concurrent_streams == 100
    assert play.peer.remote_settings.max_frame_size == FRAME
    assert play.peer.remote_settings.max_header_list_size == 60 * 1024


async def test_what_does_not_fit_waits_for_the_window() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    heard = await answering(play)
    heard.stream.send_data(b"0123456789abcdef", False)
    heard.stream.send_trailers([(b"x-t", b"1")])
    await play.talk()
    assert received(play, 1) == b"0123456789"
    assert not play.all(TrailersReceived)
    play.peer.increment_flow_control_window(4, 1)
    await play.talk()
    assert received(play, 1) == b"0123456789abcd"
    play.peer.increment_flow_control_window(4, 1)
    await play.talk()
    assert received(play, 1) == b"0123456789abcdef"
    assert play.all(TrailersReceived)
    assert play.connection.live_streams == 0


async def test_an_end_without_data_needs_no_window() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    heard = await answering(play)
    heard.stream.send_data(b"0123456789", False)
    await play.talk()
    assert received(play, 1) == b"0123456789"
    heard.stream.send_data(b"", True)
    await play.talk()
    assert play.all(StreamEnded)


async def test_a_change_of_the_initial_window_applies_to_open_streams() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    heard = await answering(play)
    heard.stream.send_data(b"x" * 30, True)
    await play.talk()
    play.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 25})
    await play.talk()
    assert len(received(play, 1)) == 25
    play.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5})
    await play.talk()
    play.peer.increment_flow_control_window(20, 1)
    await play.talk()
    assert len(received(play, 1)) == 25
    play.peer.increment_flow_control_window(5, 1)
    await play.talk()
    assert len(received(play, 1)) == 30


async def test_streams_share_the_connection_window_in_turns() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
    first, second = await answering(play), await answering(play)
    first.stream.send_data(b"1" * 200_000, True)
    second.stream.send_data(b"2" * 200_000, True)
    await play.talk()
    assert len(received(play, 1)) + len(received(play, 3)) == 65_535
    play.peer.increment_flow_control_window(4 * FRAME)
    await play.talk()
    assert len(received(play, 3)) == 2 * FRAME
    play.peer.increment_flow_control_window(1_000_000)
    await play.talk()
    assert received(play, 1) == b"1" * 200_000
    assert received(play, 3) == b"2" * 200_000


async def test_writability_is_said_at_the_marks() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    heard = await answering(play)
    heard.stream.send_data(b"x" * WRITE_HIGH_WATER, False)
    assert heard.writable == []
    heard.stream.send_data(b"x", False)
    assert heard.writable == [False]
    play.peer.increment_flow_control_window(30_000, 1)
    await play.talk()
    assert heard.writable == [False]
    play.peer.increment_flow_control_window(30_000, 1)
    await play.talk()
    assert heard.writable == [False, True]


async def test_a_full_transport_holds_data_back_but_not_the_rest() -> None:
    play = ServerPlay()
    heard = await answering(play)
    play.connection.pause_writing()
    heard.stream.send_data(b"x" * 20, False)
    play.peer.ping(b"12345678")
    await play.talk()
    assert received(play, 1) == b""
    play.connection.resume_writing()
    heard.stream.send_data(b"y", True)
    await play.talk()
    assert received(play, 1) == b"x" * 20 + b"y"


async def test_the_peers_frame_size_is_kept() -> None:
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: 60_000, SettingCodes.MAX_FRAME_SIZE: 20_000})
    heard = await answering(play)
    heard.stream.send_data(b"x" * 50_000, True)
    await play.talk()
    assert [len(event.data) for event in play.all(DataReceived)] == [20_000, 20_000, 10_000]


async def test_the_window_opens_again_as_data_is_taken() -> None:
    play = ServerPlay()
    await play.ask(end=False)
    for _ in range(64):
        play.peer.send_data(1, b"x" * FRAME)
        await play.talk()
    assert len(play.last.data) == 64 * FRAME
    # One update for each half of a window, not for each frame.
    updates = [event for event in play.all(WindowUpdated) if event.stream_id == 1]
    assert len(updates) == 32


async def test_padding_counts() -> None:
    play = ServerPlay()
    await play.ask(end=False)
    for _ in range(600):
        play.peer.send_data(1, b"x", pad_length=255)
        await play.talk()
    assert play.last.data == b"x" * 600


async def test_a_paused_stream_gets_no_more_than_its_window_and_stops_no_other() -> None:
    play = ServerPlay()
    slow = await play.ask(end=False)
    slow.stream.pause()
    for _ in range(4):
        play.peer.send_data(1, b"x" * FRAME)
    await play.talk()
    assert len(slow.data) == WINDOW
    assert play.peer.local_flow_control_window(1) == 0
    other = await play.ask(end=False)
    for _ in range(100):
        play.peer.send_data(3, b"y" * FRAME)
        await play.talk()
    assert len(other.data) == 100 * FRAME
    slow.stream.resume()
    await play.talk()
    assert play.peer.local_flow_control_window(1) == WINDOW


async def test_more_than_the_window_is_a_fault_of_the_stream() -> None:
    play = ServerPlay()
    heard = await play.ask(end=False)
    heard.stream.pause()
    play.raw((wire.frame_head(FRAME, wire.DATA, 0, 1) + b"x" * FRAME) * 5)
    await play.talk()
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert play.one(StreamReset).error_code == ErrorCodes.FLOW_CONTROL_ERROR


async def test_data_for_dead_streams_still_opens_the_connections_window() -> None:
    play = ServerPlay()
    for _ in range(40):
        heard = await play.ask(end=False)
        heard.stream.reset(ResetReason.CANCELLED)
        stream_id = heard.stream.stream_id
        play.raw((wire.frame_head(FRAME, wire.DATA, 0, stream_id) + b"x" * FRAME) * 4)
    await play.talk()
    granted = sum(event.delta for event in play.all(WindowUpdated) if not event.stream_id)
    # All but what is short of the next batch, and the opening's share.
    assert granted > 40 * WINDOW


@settings(max_examples=40)
@given(
    chunks=st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.integers(0, 40_000)), max_size=25),
    grants=st.lists(st.tuples(st.sampled_from([0, 1, 3, 5]), st.integers(1, 50_000)), max_size=25),
    window=st.integers(0, 70_000),
)
@pytest.mark.parametrize("paused_first", [False, True])
async def test_all_arrives_in_order_and_never_over_a_window(
    chunks: list[tuple[int, int]], grants: list[tuple[int, int]], window: int, paused_first: bool
) -> None:
    """h2 raises on more data than it granted; so whatever the order of sends and grants, the law is kept."""
    play = ServerPlay(settings={SettingCodes.INITIAL_WINDOW_SIZE: window})
    heard = {stream_id: await answering(play) for stream_id in (1, 3, 5)}
    sent = dict.fromkeys(heard, b"")
    if paused_first:
        play.connection.pause_writing()
    steps = max(len(chunks), len(grants))
    for number in range(steps):
        if number < len(chunks):
            stream_id, size = chunks[number]
            piece = bytes([number]) * size
            sent[stream_id] += piece
            heard[stream_id].stream.send_data(piece, False)
        if number < len(grants):
            stream_id, increment = grants[number]
            play.peer.increment_flow_control_window(increment, stream_id or None)
        await play.talk()
    if paused_first:
        play.connection.resume_writing()
    play.peer.increment_flow_control_window(10_000_000)
    for stream_id, handler in heard.items():
        handler.stream.send_data(b"", True)
        play.peer.increment_flow_control_window(2_000_000, stream_id)
    await play.talk()
    assert {stream_id: received(play, stream_id) for stream_id in heard} == sent
    assert len(play.all(StreamEnded)) == 3


async def test_a_handler_that_sends_much_at_once_hears_that_it_is_too_much() -> None:
    play = ServerPlay()

    def factory(stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        stream.send_head(OK, False)
        stream.send_data(b"x" * 200_000, False)
        return play.requests(stream, head, end)

    play.connection._factory = factory
    heard = await play.ask()
    assert heard.writable == [False]
