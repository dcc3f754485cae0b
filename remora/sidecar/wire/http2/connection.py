"""What both ends of an HTTP/2 connection do: frames in and out, flow control, settings, faults (RFC 9113).

Frames are handled where they stand in what was read, by direct calls; what is sent in one turn of the loop leaves in
one write. Flow control of what we receive: a stream's window opens again as its handler takes the data, and stays shut
while it is paused; the connection's opens at once, so that one slow stream never stops the others, and what a
connection can make us hold is bounded by its streams times the stream window.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from remora.sidecar.wire.hpack import HpackBombError, HpackError
from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.http2.errors import (
    ErrorCode,
    Http2ConnectionError,
    Http2StreamError,
    reason_of_code,
)
from remora.sidecar.wire.http2.frames import DATA, FRAME_HEAD_BYTES, HEADERS, unpack_frame_head
from remora.sidecar.wire.http2.life import ConnectionLife, StreamT
from remora.sidecar.wire.http2.limits import Http2Limits
from remora.sidecar.wire.http2.reader import BlockReader
from remora.sidecar.wire.http2.sender import MAX_FRAME_SENT_BYTES
from remora.sidecar.wire.http2.stream import AWAITING_HEAD, LENGTH_UNKNOWN, NOT_SILENT, Http2Stream

_KIND_AT = 3
"""Where a frame says of what type it is (RFC 9113 §4.1)."""


class Http2Connection(ConnectionLife[StreamT]):
    """The common half of Http2ServerConnection and Http2ClientConnection."""

    __slots__ = (
        "_block",
        "_block_end",
        "_block_frames",
        "_block_size",
        "_block_stream_id",
        "_started",
        "_stream_window",
        "_tail",
        "_unacked",
        "_worth_granting",
        "_worth_returning",
        "heard",
        "initial_window",
        "reader",
    )

    def __init__(self, limits: Http2Limits) -> None:
        super().__init__(limits)
        self.reader = BlockReader(limits.request)
        self.initial_window = frames.DEFAULT_WINDOW
        """The send window that a new stream starts with."""
        self.heard = False
        """Something has come since whoever watches last looked."""
        self._started = False
        """The peer's preface and the head of its first SETTINGS have been seen."""
        self._tail = b""
        self._unacked = 0
        self._stream_window = limits.stream_window
        self._worth_granting = limits.stream_window >> 1
        """Bytes taken from a stream that are worth a WINDOW_UPDATE."""
        self._worth_returning = limits.connection_window >> 1
        self._block: list[bytes] = []
        self._block_size = 0
        self._block_frames = 0
        self._block_stream_id = 0
        self._block_end = False

    # What the two ends do each in their way.

    @abstractmethod
    def _opening(self) -> bytes:
        """What we say first."""

    @abstractmethod
    def _preface(self) -> bytes:
        """What the peer says before its SETTINGS."""

    @abstractmethod
    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None: ...

    @abstractmethod
    def _on_goaway(self, last_stream_id: int, code: int) -> None: ...

    @abstractmethod
    def _on_setting(self, key: int, value: int) -> None: ...

    @abstractmethod
    def _on_ping_ack(self, payload: bytes) -> None: ...

    @abstractmethod
    def _is_idle(self, stream_id: int) -> bool:
        """No stream of this id has been opened yet."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._opening())

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.heard = True
        if self._tail:
            data = self._tail + data
            self._tail = b""
        self._flush_due = True
        try:
            offset = self._read_frames(data, 0) if self._started else self._read_start(data)
            if offset < len(data):
                self._tail = data[offset:]
                if len(self._tail) > _KIND_AT and self._tail[_KIND_AT] == HEADERS:
                    self.wait_for_head()
        except Http2ConnectionError as fault:
            self._fail(fault)
        except HpackBombError as bomb:
            self._fail(Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, str(bomb)))
        except HpackError as error:
            self._fail(Http2ConnectionError(ErrorCode.COMPRESSION_ERROR, str(error)))
        finally:
            self._flush()

    def eof_received(self) -> bool:
        """HTTP/2 has no use for a half-closed connection: let it close."""
        return False

    # Reading

    def _read_start(self, data: bytes) -> int:
        preface = self._preface()
        size = len(preface)
        if not data.startswith(preface[: len(data)]):
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "the connection does not start with HTTP/2's preface")
        if len(data) < size + FRAME_HEAD_BYTES:
            return 0
        if data[size + 3] != frames.SETTINGS or data[size + 4] & frames.ACK:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._started = True
        self.stop_waiting()
        return self._read_frames(data, size)

    def _read_frames(self, data: bytes, offset: int) -> int:
        """Handle the whole frames in `data` from `offset`; returns where the first one that is not whole begins."""
        size = len(data)
        while size - offset >= FRAME_HEAD_BYTES and not self.closed:
            high, low, kind, flags, stream_id = unpack_frame_head(data, offset)
            length = high << 8 | low
            if length > frames.DEFAULT_FRAME_BYTES:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes is over 16384")
            begin = offset + FRAME_HEAD_BYTES
            end = begin + length
            if end > size:
                break
            offset = end
            if self._block_stream_id and kind != frames.CONTINUATION:
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted by another frame")
            stream_id &= frames.MAX_STREAM_ID
            try:
                if kind == DATA:
                    self._on_data(flags, stream_id, data[begin:end])
                elif kind == HEADERS:
                    self._on_headers(flags, stream_id, data[begin:end])
                else:
                    self._on_other_frame(kind, flags, stream_id, data[begin:end])
            except Http2StreamError as fault:
                self._fault_stream(stream_id, fault)
        return offset

    def _on_other_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream_id, payload)
        elif kind == frames.RST_STREAM:
            self._on_rst_stream(stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, stream_id, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which is not enabled")
        elif kind == frames.PRIORITY:
            self._on_priority(stream_id, payload)
        elif kind > frames.CONTINUATION:
            # Unknown types are ignored (RFC 9113 §4.1), but not without end.
            self._count_control()
        elif stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "SETTINGS, PING or GOAWAY on a stream")
        elif kind == frames.PING:
            self._on_ping(flags, payload)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, payload)
        elif len(payload) < 8:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        else:
            self._on_goaway(
                int.from_bytes(payload[:4], "big") & frames.MAX_STREAM_ID, int.from_bytes(payload[4:8], "big")
            )

    def _count_control(self) -> None:
        self._guard.on_control(self.loop.time())

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._unacked += size
        if self._unacked >= self._worth_returning:
            self.write(frames.window_update_frame(0, self._unacked))
            self._unacked = 0
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_stray_data(stream_id, size)
            return
        if stream.recv_ended:
            raise Http2StreamError(ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        stream.unacked += size
        if stream.unacked > self._stream_window:
            raise Http2StreamError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        if flags & frames.PADDED:
            payload = frames.unpad(flags, payload)
            size = len(payload)
        end = flags & frames.END_STREAM != 0
        if size:
            self._guard.progress = True
        elif not end:
            self._count_control()
            return
        if stream.left != LENGTH_UNKNOWN:
            self._count_down(stream, size, end)
        if not end:
            stream.silent_looks = NOT_SILENT
            stream.handler.on_data(payload, False)
            if stream.unacked >= self._worth_granting:
                self.grant(stream)
            return
        gone = self._end_receiving(stream)
        stream.handler.on_data(payload, True)
        if gone:
            self._on_stream_gone()

    def _count_down(self, stream: StreamT, size: int, end: bool) -> None:
        """The body has to be as long as its head says, and to come behind it."""
        if stream.left == AWAITING_HEAD:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS")
        stream.left -= size
        if stream.left < 0 or (end and stream.left):
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "the body is not as long as content-length says")

    def _end_receiving(self, stream: StreamT) -> bool:
        """The peer has ended its half. True: that was the last of the stream, and it is taken out; to say
        `_on_stream_gone` is left to the caller, after the handler has had the end."""
        stream.recv_ended = True
        if stream.end_sent:
            del self.streams[stream.stream_id]
        return stream.end_sent

    def grant(self, stream: Http2Stream) -> None:
        """Open the peer's window on a stream again, if it is worth a frame and nothing speaks against it."""
        if stream.unacked < self._worth_granting or stream.paused or stream.recv_ended or self.closed:
            return
        self.write(frames.window_update_frame(stream.stream_id, stream.unacked))
        stream.unacked = 0

    def _on_stray_data(self, stream_id: int, size: int) -> None:
        if not size:
            self._count_control()
        self._on_stray(stream_id)

    def _on_stray(self, stream_id: int) -> None:
        """DATA or HEADERS on a stream that is not there."""
        if self._is_idle(stream_id):
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"a frame on the idle stream {stream_id}")
        if stream_id in self._recent_resets:
            return
        self._count_control()
        self.write(frames.rst_stream_frame(stream_id, ErrorCode.STREAM_CLOSED))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = frames.without_priority(flags, frames.unpad(flags, payload))
        end = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            if self._head_timer is not None:
                self.stop_waiting()
            self._on_block(stream_id, payload, end)
            return
        self._block = [payload]
        self._block_size = len(payload)
        self._block_frames = 1
        self._block_stream_id = stream_id
        self._block_end = end
        self.wait_for_head()

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id or stream_id != self._block_stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of no header block")
        self._block.append(payload)
        self._block_size += len(payload)
        self._block_frames += 1
        if self._block_size > self.limits.max_block_bytes or self._block_frames > self.limits.max_block_frames:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a header block does not end")
        if flags & frames.END_HEADERS:
            self.stop_waiting()
            block = b"".join(self._block)
            self._block = []
            self._block_stream_id = 0
            self._on_block(stream_id, block, self._block_end)

    def _on_trailers(self, stream: StreamT, block: bytes, end: bool) -> None:
        trailers = self.reader.trailers(block)
        if stream.recv_ended:
            raise Http2StreamError(ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        if not end:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the stream")
        if stream.left > 0:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "the body is shorter than content-length says")
        gone = self._end_receiving(stream)
        stream.handler.on_trailers(trailers)
        if gone:
            self._on_stream_gone()

    def _on_priority(self, stream_id: int, payload: bytes) -> None:
        self._count_control()
        if not stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise Http2StreamError(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not five bytes")

    def _on_ping(self, flags: int, payload: bytes) -> None:
        self._count_control()
        if len(payload) != 8:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "PING is not eight bytes")
        if flags & frames.ACK:
            self._on_ping_ack(payload)
        else:
            self.write(frames.ping_frame(payload, frames.ACK))

    def _on_settings(self, flags: int, payload: bytes) -> None:
        self._count_control()
        if flags & frames.ACK:
            if payload:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with ACK has a payload")
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                self._set_initial_window(value)
            elif key == frames.MAX_FRAME_SIZE:
                self.max_frame = min(value, MAX_FRAME_SENT_BYTES)
            else:
                self._on_setting(key, value)
        self.write(frames.SETTINGS_ACK)
        self._pump_all()

    def _set_initial_window(self, value: int) -> None:
        """Applies to open streams by its difference, and may take their windows below zero (RFC 9113 §6.9.2)."""
        change = value - self.initial_window
        self.initial_window = value
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window")
            if stream.queue:
                self._blocked[stream.stream_id] = stream

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        self._count_control()
        if len(payload) != 4:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not four bytes")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        if not stream_id:
            self.send_window += increment
            if not increment or self.send_window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise Http2ConnectionError(code, "WINDOW_UPDATE by nothing, or over 2^31-1")
            self._pump_all()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on the idle stream {stream_id}")
            return
        stream.send_window += increment
        if not increment or stream.send_window > frames.MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise Http2StreamError(code, "WINDOW_UPDATE by nothing, or over 2^31-1")
        if stream.queue:
            self.pump(stream)

    def _on_rst_stream(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not four bytes")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            self._count_control()
            if self._is_idle(stream_id):
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on the idle stream {stream_id}")
            return
        self._end_stream(stream, reason_of_code(int.from_bytes(payload, "big")))
        self._count_reset()
