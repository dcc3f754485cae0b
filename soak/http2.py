"""A client of HTTP/2 on the h2 library: many streams on a connection, some of them given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import Random

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from soak.app import ID_FIELD
from soak.http1 import TIMEOUT_S, Ask
from soak.ledger import BEFORE, WITHIN

STREAMS = 6
GIVEN_UP_SHARE = 0.1


class _Stream:
    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.end = asyncio.Event()
        self.failure = ""


class Http2:
    """One connection; `round` asks on several streams at once."""

    def __init__(self, rnd: Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._rnd = rnd
        self._reader, self._writer = reader, writer
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._window = asyncio.Event()
        self.lost = ""
        """Why no more can be asked on this connection."""
        self._h2.initiate_connection()
        self._flush()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, rnd: Random, port: int) -> Http2:
        return cls(rnd, *await asyncio.open_connection("127.0.0.1", port))

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.transport.abort()

    async def round(self, note: Callable[[Awaitable[int]], Awaitable[None]]) -> None:
        """STREAMS requests at once; `note` awaits each and writes down what became of it."""
        await asyncio.gather(*(note(self._one()) for _ in range(STREAMS)))

    async def _one(self) -> int:
        rnd, ask = self._rnd, Ask(self._rnd)
        stream = _Stream()
        if self.lost:
            raise ask.failure(BEFORE, self.lost)
        number = self._h2.get_next_available_stream_id()
        self._streams[number] = stream
        fields = [(":method", ask.method), (":scheme", "http"), (":path", ask.target), (":authority", "soak")]
        fields.append((ID_FIELD, ask.id))
        giving_up = rnd.random() < GIVEN_UP_SHARE
        if ask.body and rnd.random() < 0.5:
            fields.append(("content-length", str(len(ask.body))))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._h2.send_headers(number, fields, end_stream=not ask.body)
                self._flush()
                if giving_up:
                    await self._send(number, stream, ask.body, rnd.randint(0, len(ask.body)))
                    self._give_up(number, stream)
                else:
                    await self._send(number, stream, ask.body, len(ask.body))
                    await stream.end.wait()
        except (TimeoutError, ProtocolError, OSError) as error:
            stream.failure = stream.failure or self.lost or type(error).__name__
        finally:
            self._streams.pop(number, None)
        return 0 if giving_up else self._judge(ask, stream)

    def _judge(self, ask: Ask, stream: _Stream) -> int:
        if stream.fields:
            ask.check_status(int(stream.fields[b":status"]), stream.fields.get(b"x-mesh-error", b"").decode())
        if stream.failure or not stream.fields:
            raise ask.failure(WITHIN if stream.fields else BEFORE, stream.failure)
        body = b"".join(stream.body)
        ask.check(stream.fields[b"x-digest"].decode(), body)
        return len(body) + len(ask.body)

    async def _send(self, number: int, stream: _Stream, body: bytes, size: int) -> None:
        """The first `size` bytes of `body`."""
        sent = 0
        while sent < size and not stream.end.is_set():
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, size - sent)
            if room <= 0:
                self._window.clear()
                await self._window.wait()
                continue
            sent += room
            self._h2.send_data(number, body[sent - room : sent], end_stream=sent == len(body))
            self._flush()
            await self._writer.drain()

    def _give_up(self, number: int, stream: _Stream) -> None:
        if not stream.end.is_set():
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
            self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    self._on_event(event)
                self._flush()
            self.lost = self.lost or "connection closed"
        except (OSError, ProtocolError) as error:
            self.lost = f"{type(error).__name__}: {error}"
        for stream in self._streams.values():
            stream.failure = stream.failure or self.lost
            stream.end.set()
        self._window.set()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, WindowUpdated):
            self._window.set()
        elif isinstance(event, ConnectionTerminated):
            self.lost = f"GOAWAY {event.error_code}"
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.fields = dict(event.headers)
        elif isinstance(event, DataReceived):
            stream.body.append(event.data)
        elif isinstance(event, StreamReset):
            stream.failure = f"RST_STREAM {int(event.error_code)}"
            self._window.set()
        if isinstance(event, StreamEnded | StreamReset):
            stream.end.set()
