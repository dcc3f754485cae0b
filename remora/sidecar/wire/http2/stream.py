"""One HTTP/2 stream: its sending half, and the state that both halves share (RFC 9113 §5.1)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from remora.sidecar.wire.heads import Fields
from remora.sidecar.wire.http2.blocks import trailers_block
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, WRITE_LOW_WATER, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.wire.http2.sender import FrameSender

LENGTH_UNKNOWN = -1
SMALL_BYTES = 2048
"""Waiting pieces under this are put together: in pieces of a byte or two they would weigh many times their size."""
AWAITING_HEAD = -2
"""In place of a length: no final head has come, and so no data may."""
NOT_SILENT = -1
"""In place of a number of looks: data has come since the last."""


class BodyHandler(Protocol):
    """What request and response handlers have in common."""

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: ResetReason) -> None: ...

    def on_writable(self, writable: bool) -> None: ...


class _Nobody:
    """The handler of a stream that has none yet, or none any more."""

    __slots__ = ()

    def on_data(self, data: bytes, end: bool) -> None:
        pass

    def on_trailers(self, trailers: Fields) -> None:
        pass

    def on_reset(self, reason: ResetReason) -> None:
        pass

    def on_writable(self, writable: bool) -> None:
        pass


NOBODY: BodyHandler = _Nobody()


class Http2Stream:
    """A stream, as exchanges hold it. The connection reads and writes its state directly."""

    __slots__ = (
        "abandoned",
        "connection",
        "end_sent",
        "handler",
        "left",
        "paused",
        "queue",
        "queued",
        "recv_ended",
        "send_ended",
        "send_window",
        "silent_looks",
        "stream_id",
        "trailers",
        "unacked",
        "writable",
    )

    def __init__(self, connection: FrameSender, stream_id: int, send_window: int, recv_ended: bool) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.handler: BodyHandler = NOBODY
        self.send_window = send_window
        self.unacked = 0
        """Bytes received since we last opened the peer's window."""
        self.left = LENGTH_UNKNOWN
        """Bytes that content-length still promises."""
        self.silent_looks = NOT_SILENT
        """How often a watch has looked again since data came."""
        self.recv_ended = recv_ended
        self.send_ended = False
        """Our handler has ended its half, or the stream is dead."""
        self.end_sent = False
        """END_STREAM is on its way: what was queued before is too."""
        self.paused = False
        self.writable = True
        self.abandoned = False
        """Reset by the handler once all that is queued has gone."""
        self.queue: deque[bytes | memoryview] | None = None
        self.queued = 0
        self.trailers: bytes | None = None
        """The block to send after the queue."""

    def send_data(self, data: bytes, end: bool) -> None:
        if self.send_ended:
            return
        self.send_ended = end
        connection = self.connection
        size = len(data)
        if (
            self.queue
            or size > self.send_window
            or size > connection.send_window
            or size > connection.max_frame
            or connection.write_paused
        ):
            self._enqueue(data, size, end)
        elif size or end:
            self.send_window -= size
            connection.send_window -= size
            connection.write_data(self.stream_id, data, size, end)
            if end:
                self._on_end_sent()

    def send_trailers(self, trailers: Fields) -> None:
        if self.send_ended:
            return
        self.send_ended = True
        block = trailers_block(trailers)
        if self.queue:
            self.trailers = block
            return
        self.connection.write_headers(self.stream_id, block, True)
        self._on_end_sent()

    def reset(self, reason: ResetReason) -> None:
        if not (self.send_ended and self.recv_ended):
            self.connection.reset_stream(self, reason)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.connection.grant(self)

    def _enqueue(self, data: bytes, size: int, end: bool) -> None:
        if not size:
            # The end of a queue that is not empty goes with its last frame; nothing else asks for a window.
            if end and not self.queue:
                self.connection.write_data(self.stream_id, b"", 0, True)
                self._on_end_sent()
            return
        queue = self.queue
        if queue is None:
            self.queue = queue = deque()
        last = queue[-1] if queue and size < SMALL_BYTES else None
        if last is not None and len(last) < SMALL_BYTES:
            queue[-1] = b"".join((last, data))
        else:
            queue.append(data)
        self.queued += size
        self.connection.pump(self)
        if self.queued > WRITE_HIGH_WATER and self.writable:
            self.writable = False
            if not self.send_ended:
                self.handler.on_writable(False)

    def send_queued(self, limit: int) -> bool:
        """Send one frame of the queue, of `limit` bytes at most; True when another could follow at once."""
        queue = self.queue
        limit = min(limit, self.send_window)
        if not queue or limit <= 0:
            return False
        chunk = queue.popleft()
        if len(chunk) > limit:
            whole = memoryview(chunk)
            queue.appendleft(whole[limit:])
            chunk = whole[:limit]
        size = len(chunk)
        self.queued -= size
        self.send_window -= size
        connection = self.connection
        connection.send_window -= size
        end = self.send_ended and not queue
        connection.write_data(self.stream_id, chunk, size, end and self.trailers is None)
        if end:
            if self.trailers is not None:
                connection.write_headers(self.stream_id, self.trailers, True)
            self._on_end_sent()
        elif not self.writable and self.queued <= WRITE_LOW_WATER:
            self.writable = True
            if not self.send_ended:
                self.handler.on_writable(True)
        return bool(self.queue) and self.send_window > 0

    def _on_end_sent(self) -> None:
        self.end_sent = True
        if self.recv_ended:
            self.connection.forget(self)
        elif self.abandoned:
            self.connection.reset_stream(self, ResetReason.CANCELLED)

    def die(self) -> BodyHandler:
        """Nothing goes or comes any more. Returns whoever has still to be told why."""
        told = NOBODY if self.send_ended and self.recv_ended else self.handler
        self.send_ended = self.recv_ended = self.end_sent = True
        self.queue = None
        self.handler = NOBODY
        return told
