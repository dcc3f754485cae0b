"""Target: tunnels over HTTP/1 and opaque TCP. Bytes come out as they went in, each direction ends once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fuzz.laws import LawBrokenError, Strict, one_turn
from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import RequestStream, ResetReason
from remora.sidecar.wire.tcp import TcpClientConnection, TcpServerConnection
from tests.support.wire import FakeTransport, Owner

_UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
_CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
_TAKEN = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


class Pipe(FakeTransport):
    """A transport that takes nothing after the end."""

    def write(self, data: Any) -> None:
        if self.eof_written:
            raise LawBrokenError("written after the end")
        super().write(data)


class Side:
    """One codec with a tunnel on it, and the peer that is played against it."""

    def __init__(self, transport: Pipe, protocol: Any, handler: Strict, stream: Any, head_bytes: int) -> None:
        self.transport = transport
        self.protocol: Any = protocol
        """Until another one takes over."""
        self.handler = handler
        self.stream = stream
        self.sent = b""
        """By the peer."""
        self.queued = b""
        """By the handler's side."""
        self.head_bytes = head_bytes
        self.finished = self.lost = False

    def current(self) -> Any:
        return self.transport.protocol or self.protocol

    def step(self, operation: int, payload: bytes) -> None:
        """One operation of the peer or of the handler's side; those that cannot be now are passed over."""
        stream, transport = self.stream, self.transport
        if operation < 4:
            if transport.reading and not self.finished and not transport.closed:
                self._by_peer(operation, payload or b"-")
        elif operation < 7:
            if not transport.eof_written and not transport.closed:
                self.queued += payload
            stream.send_data(payload, operation == 6)
        elif operation == 10:
            if payload[:1] == b"!":
                stream.reset(ResetReason.CANCELLED)
        else:
            (stream.pause, stream.resume, self._fill)[operation - 7]()

    def _by_peer(self, operation: int, payload: bytes) -> None:
        if operation < 3:
            self.sent += payload
            self.current().data_received(payload)
            return
        self.finished = True
        if not self.current().eof_received():
            self.transport.close()

    def _fill(self) -> None:
        self.current().pause_writing()
        self.current().resume_writing()

    def judge(self) -> None:
        self.stream.resume()
        if not self.sent.startswith(self.handler.data):
            raise LawBrokenError(f"sent {self.sent!r}, delivered {self.handler.data!r}")
        if self.handler.ended and self.handler.data != self.sent:
            raise LawBrokenError(f"ended with {self.handler.data!r}, sent was {self.sent!r}")
        written = self.transport.written[self.head_bytes :]
        if not written.startswith(self.queued):
            raise LawBrokenError(f"queued {self.queued!r}, written {written!r}")


async def tunnel(data: bytes) -> None:
    """The first octet chooses the codec; then operations: what, how long, the bytes."""
    if not data:
        return
    make: Callable[[bytes], Any] = (_upgraded, _connected, _upgrading, _raw_server, _raw_client)[data[0] % 5]
    # What comes with the head, in the same read.
    early = data[1 : 1 + data[0] // 5 % 4]
    side: Side = await make(early)
    side.sent = early + side.sent
    offset = 1 + len(early)
    while offset + 2 <= len(data):
        operation, size = data[offset] % 11, data[offset + 1] & 31
        payload = data[offset + 2 : offset + 2 + size]
        offset += 2 + size
        side.step(operation, payload)
        if side.transport.closed or side.handler.reset is not None:
            break
        if not offset & 3:
            await one_turn()
    await one_turn()
    side.judge()
    side.current().connection_lost(None)
    if not side.handler.ended and side.handler.reset is None and not side.transport.closed:
        raise LawBrokenError("a tunnel neither ended nor was reset, though its connection is lost")


async def _by_http1(head: bytes, answer: ResponseHead, early: bytes) -> Side:
    found: list[Strict] = []

    def factory(stream: RequestStream, asked: RequestHead, end: bool) -> Strict:
        found.append(Strict(stream, asked, end))
        return found[-1]

    transport = Pipe()
    server = Http1ServerConnection(factory, lambda _: None, RequestLimits())
    transport.protocol = server
    server.connection_made(transport)
    server.data_received(head + early)
    (handler,) = found
    handler.stream.send_head(answer, False)
    await one_turn()
    return Side(transport, server, handler, handler.stream, len(transport.written))


async def _upgraded(early: bytes) -> Side:
    return await _by_http1(_UPGRADE, ResponseHead(101, [(b"upgrade", b"x")]), early)


async def _connected(early: bytes) -> Side:
    return await _by_http1(_CONNECT, ResponseHead(200, []), early)


async def _upgrading(early: bytes) -> Side:
    transport = Pipe()
    client = Http1ClientConnection(Owner())
    transport.protocol = client
    client.connection_made(transport)
    handler = Strict()
    stream = client.open(RequestHead(b"GET", b"/", b"a", [], upgrade=b"x"), False, handler)
    head_bytes = len(transport.written)
    client.data_received(_TAKEN + early)
    await one_turn()
    if not handler.final and not any(head.status == 101 for head, _ in handler.heads):
        raise LawBrokenError("the answer that opens a tunnel was not delivered")
    return Side(transport, client, handler, stream, head_bytes)


async def _raw_server(early: bytes) -> Side:
    found: list[Strict] = []

    def factory(stream: RequestStream, asked: RequestHead, end: bool) -> Strict:
        found.append(Strict(stream, asked, end))
        return found[-1]

    transport = Pipe()
    server = TcpServerConnection(factory, lambda _: None)
    server.start(transport, early, b"a:1")
    (handler,) = found
    handler.stream.send_head(ResponseHead(200, []), False)
    return Side(transport, server, handler, server, 0)


async def _raw_client(early: bytes) -> Side:
    transport = Pipe()
    client = TcpClientConnection(Owner())
    client.connection_made(transport)
    handler = Strict()
    client.open(RequestHead(b"CONNECT", b"", b"a:1", []), False, handler)
    if early:
        client.data_received(early)
    await one_turn()
    return Side(transport, client, handler, client, 0)
