"""The sending half of a connection: frames collected for one write a turn, and the turns of streams that wait.

DATA goes straight out as long as both windows and the transport have room. What does not fit waits in its stream's
queue, and the streams that wait take turns, a frame each.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import cast

from remora.sidecar.wire.hpack import NO_DYNAMIC_TABLE
from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.http2.flood import FloodGuard
from remora.sidecar.wire.http2.frames import DATA, END_HEADERS, HEADERS, pack_frame_head
from remora.sidecar.wire.http2.limits import Http2Limits
from remora.sidecar.wire.http2.stream import Http2Stream
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, WRITE_LOW_WATER, ResetReason

MAX_FRAME_SENT_BYTES = 64 * 1024
"""Of DATA, where the peer takes more: so much of one stream goes before the next has its turn."""
FLUSH_BYTES = 64 * 1024
"""Data collected in one turn above which it is written at once, so that the transport can say that it is full."""


class FrameSender(asyncio.Protocol):
    """What Http2Connection builds on, and what a stream sends through."""

    __slots__ = (
        "_blocked",
        "_flush_due",
        "_guard",
        "_out",
        "_out_data",
        "_sent_block",
        "limits",
        "loop",
        "max_frame",
        "send_window",
        "transport",
        "write_paused",
    )

    loop: asyncio.AbstractEventLoop

    def __init__(self, limits: Http2Limits) -> None:
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.max_frame = frames.DEFAULT_FRAME_BYTES
        """Of DATA and header blocks that we send."""
        self.send_window = frames.DEFAULT_WINDOW
        """What the peer takes on the whole connection now."""
        self.write_paused = False
        self._guard = FloodGuard(limits)
        self._out: list[bytes | memoryview] = []
        self._out_data = 0
        self._flush_due = False
        self._sent_block = False
        self._blocked: dict[int, Http2Stream] = {}
        """Streams whose queue waits for the connection, in the order of their turns."""

    @abstractmethod
    def abort(self) -> None: ...

    @abstractmethod
    def grant(self, stream: Http2Stream) -> None:
        """Open the peer's window on a stream again, if it is worth a frame and nothing speaks against it."""

    @abstractmethod
    def forget(self, stream: Http2Stream) -> None:
        """Both halves have ended and all is sent."""

    @abstractmethod
    def reset_stream(self, stream: Http2Stream, reason: ResetReason) -> None:
        """Give a live stream up, for its handler."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_WATER, WRITE_LOW_WATER)
        self.loop = asyncio.get_running_loop()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._pump_all()

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop."""
        self._out.append(data)
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def write_data(self, stream_id: int, data: bytes | memoryview, size: int, end: bool) -> None:
        """One DATA frame, of no more than windows and frame size allow."""
        out = self._out
        out.append(pack_frame_head(size >> 8, size & 0xFF, DATA, end, stream_id))
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)
        if size:
            out.append(data)
            self._guard.progress = True
            self._out_data += size
            if self._out_data > FLUSH_BYTES:
                self._write_out()

    def write_headers(self, stream_id: int, block: bytes, end: bool) -> None:
        if not self._sent_block:
            self._sent_block = True
            block = NO_DYNAMIC_TABLE + block
        self._guard.progress = True
        size = len(block)
        if size <= self.max_frame:
            out = self._out
            out.append(pack_frame_head(size >> 8, size & 0xFF, HEADERS, END_HEADERS | end, stream_id))
            out.append(block)
            if not self._flush_due:
                self._flush_due = True
                self.loop.call_soon(self._flush)
        else:
            self.write(frames.headers_frames(stream_id, block, end, self.max_frame))

    def _flush(self) -> None:
        self._flush_due = False
        if self._out:
            self._write_out()

    def _write_out(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        self._out_data = 0
        transport = self.transport
        if transport is None:
            return
        transport.write(data)
        if self.write_paused and transport.get_write_buffer_size() > self.limits.max_unsent_bytes:
            # Data waits in its streams: this is heads and answers that the peer asks for and never reads.
            self.loop.call_soon(self.abort)

    def pump(self, stream: Http2Stream) -> None:
        """Send what a stream has queued, in its turn, as far as windows and transport allow."""
        self._blocked[stream.stream_id] = stream
        self._pump_all()

    def _pump_all(self) -> None:
        blocked = self._blocked
        while blocked and self.send_window > 0 and not self.write_paused:
            stream_id = next(iter(blocked))
            stream = blocked.pop(stream_id)
            if stream.send_queued(min(self.send_window, self.max_frame)):
                blocked[stream_id] = stream
