"""Playing a peer against a codec without sockets: a transport that remembers, handlers that note what they hear."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestStream, ResetReason


class FakeTransport(asyncio.Transport):
    """Collects what a protocol writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.aborted = False
        self.eof_written = False
        self.reading = True
        self.unsent = 0
        self.high_water = 64 * 1024
        self.protocol: Any = None

    def take(self) -> bytes:
        """What was written since the last call."""
        data, self.written = self.written, b""
        return data

    def receive(self, data: bytes) -> None:
        """Hand `data` to the protocol as loops do."""
        while data:
            if not isinstance(self.protocol, asyncio.BufferedProtocol):
                self.protocol.data_received(data)
                return
            buffer = cast(memoryview, self.protocol.get_buffer(-1))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            self.protocol.buffer_updated(len(piece))

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self.high_water = high

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Requests:
    """A RequestHandlerFactory that writes down requests; each entry is a Heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        handler = Heard(stream, head, end)
        self.heard.append(handler)
        return handler


class Heard:
    """What a handler was told, on either side of a stream."""

    def __init__(self, stream: Any = None, head: Any = None, end: bool = False) -> None:
        self.stream = stream
        self.head = head
        self.heads: list[tuple[ResponseHead, bool]] = []
        self.data = b""
        self.ended = end
        self.trailers: Fields | None = None
        self.reset: ResetReason | None = None
        self.writable: list[bool] = []

    def on_head(self, head: ResponseHead, end: bool) -> None:
        self.heads.append((head, end))
        self.ended = end

    def on_data(self, data: bytes, end: bool) -> None:
        assert not self.ended, "data after the end"
        self.data += data
        self.ended = end

    def on_trailers(self, trailers: Fields) -> None:
        assert not self.ended, "trailers after the end"
        self.trailers = trailers
        self.ended = True

    def on_reset(self, reason: ResetReason) -> None:
        self.reset = reason

    def on_writable(self, writable: bool) -> None:
        self.writable.append(writable)


class Owner:
    """A ConnectionOwner that counts."""

    def __init__(self) -> None:
        self.freed = 0
        self.closed = 0

    def on_connection_free(self, connection: Any) -> None:
        self.freed += 1

    def on_connection_closed(self, connection: Any) -> None:
        self.closed += 1

    def on_max_streams(self, streams: int) -> None:
        self.max_streams = streams

    def on_keep_alive(self, value: bytes) -> None:
        self.keep_alive = value
