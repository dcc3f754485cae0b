"""The upstream behind every proxy under comparison: h11 on a raw socket, which writes down what it reads."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import cast

import h11

BODY = b"ok"


@dataclasses.dataclass
class Seen:
    """A request as h11 reads it."""

    method: bytes
    target: bytes
    host: bytes
    body: bytes = b""
    whole: bool = False

    @property
    def key(self) -> tuple[bytes, bytes, bytes, bytes]:
        return self.method, self.target, self.host, self.body

    def __str__(self) -> str:
        return f"{self.method!r} {self.target!r} {self.host!r} +{len(self.body)}{'' if self.whole else '…'}"


class Recorder:
    """Listens, answers each whole request with 200, and keeps what it has seen since `clear`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.broken: list[str] = []
        """What h11 refused, and why."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self.connections: set[_Connection] = set()

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in tuple(self.connections):
                connection.close()
            await self._server.wait_closed()

    def clear(self) -> None:
        self.seen, self.broken = [], []

    @property
    def whole(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.whole]


class _Connection(asyncio.Protocol):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._reader = Reader(recorder.seen)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._recorder.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._recorder.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._reader.seen = self._recorder.seen
        answer = self._reader.feed(data)
        if answer:
            self._transport.write(answer)
        if self._reader.refused:
            self._recorder.broken.append(f"{self._reader.refused}: {self._reader.raw[-400:]!r}")
        if self._reader.over:
            self._transport.close()


class Reader:
    """h11 as a server on one connection: requests into `seen`, answers out."""

    def __init__(self, seen: list[Seen]) -> None:
        self.seen = seen
        self.refused = ""
        self.over = False
        """Nothing more is read: refused, or the last request was."""
        self.raw = b""
        self._connection = h11.Connection(h11.SERVER)
        self._current: Seen | None = None

    def feed(self, data: bytes) -> bytes:
        """Read on; gives the answers to what has become whole."""
        if self.over:
            return b""
        self.raw = (self.raw + data)[-4096:]
        out = b""
        try:
            self._connection.receive_data(data)
            while not self.over:
                event = self._connection.next_event()
                if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
                    break
                out += self._on_event(event)
        except h11.RemoteProtocolError as error:
            self.refused, self.over = str(error), True
        return out

    def _on_event(self, event: h11.Event) -> bytes:
        if isinstance(event, h11.Request):
            self._current = _seen(event)
            self.seen.append(self._current)
            if event.method == b"CONNECT":
                return self._answer(501)
        elif isinstance(event, h11.Data) and self._current is not None:
            self._current.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and self._current is not None:
            self._current.whole = True
            return self._answer(200)
        return b""

    def _answer(self, status: int) -> bytes:
        connection = self._connection
        head = h11.Response(status_code=status, headers=[("content-length", str(len(BODY)))])
        out = connection.send(head) or b""
        if self._current is None or self._current.method != b"HEAD":
            out += connection.send(h11.Data(data=BODY)) or b""
        out += connection.send(h11.EndOfMessage()) or b""
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
        else:
            self.over = True
        return out


def _seen(event: h11.Request) -> Seen:
    host = dict(event.headers).get(b"host", b"")
    target = event.target
    if target.lower().startswith(b"http://"):
        # Absolute form, as a proxy has to read it (RFC 9112 §3.2.2).
        host, slash, path = target[7:].partition(b"/")
        target = slash + path
    return Seen(event.method, target, host)


def read_all(data: bytes) -> tuple[list[Seen], str]:
    """What h11 makes of `data` by itself: the requests, and why it stopped, if it refused."""
    reader = Reader([])
    reader.feed(data)
    return reader.seen, reader.refused
