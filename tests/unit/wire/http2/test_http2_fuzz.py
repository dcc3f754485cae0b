"""Whatever a peer sends, the connection goes on or says why it does not; nothing escapes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http2 import PREFACE, Http2ClientConnection, Http2ServerConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.stream import RequestStream
from tests.support.http2 import BufferedTransport
from tests.support.wire import Heard, Owner

BLOCKS = [b"\x83\x86\x84\x01\x01a", b"\x88", b"\x00\x01a\x01b", b"\x83", b"\xff\xff", b""]
LONGS = [b"\x00\x00\x00\x00", b"\x00\x00\x00\x08", b"\x00\x00\x00\x64"]

payloads = st.sampled_from([*BLOCKS, *LONGS]) | st.binary(max_size=40)
frames = st.builds(
    lambda kind, flags, stream_id, payload: wire.frame_head(len(payload), kind, flags, stream_id) + payload,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 0x25, 0x2D]) | st.integers(0, 255),
    st.sampled_from([0, 1, 1, 3, 5, 2]),
    payloads,
)
scripts = st.lists(frames, max_size=30)


class Answering(Heard):
    """Answers at once, so that both halves of the streams are in play; and checks the order of what it is told."""

    def __init__(self, stream: RequestStream, head: RequestHead, end: bool) -> None:
        super().__init__(stream, head, end)
        stream.send_head(ResponseHead(200, []), False)
        stream.send_data(b"x" * 30_000, head.path != b"/")

    def on_data(self, data: bytes, end: bool) -> None:
        assert self.reset is None
        super().on_data(data, end)


@settings(max_examples=300)
@given(scripts)
async def test_the_server_survives(script: list[bytes]) -> None:
    transport = BufferedTransport()
    connection = Http2ServerConnection(Answering)
    connection.connection_made(transport)
    connection.data_received(PREFACE + wire.settings_frame({}) + b"".join(script))
    connection.connection_lost(None)
    assert connection.live_streams == 0


@settings(max_examples=300)
@given(scripts)
async def test_the_client_survives(script: list[bytes]) -> None:
    transport, owner = BufferedTransport(), Owner()
    connection = Http2ClientConnection(owner)
    connection.connection_made(transport)
    calls = [Heard(), Heard(), Heard()]
    for call in calls:
        stream = connection.open(RequestHead(b"POST", b"/", b"a", []), False, call)
        stream.send_data(b"x" * 30_000, call is calls[0])
    connection.data_received(wire.settings_frame({}) + b"".join(script))
    connection.connection_lost(None)
    assert connection.live_streams == 0
    assert owner.closed == 1
    # The first has ended its half, and hears how the peer's ended; the others hear of the loss.
    assert calls[0].ended or calls[0].reset is not None
    assert all(call.reset is not None for call in calls[1:])
