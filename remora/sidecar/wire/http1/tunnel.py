"""Requests of HTTP/1.1 that ask for a tunnel (Upgrade, CONNECT), on both sides of the mesh.

While the answer is awaited the tunnel is the stream, in place of the connection. When it says yes, the bytes of the
connection are the tunnel's (RFC 9110 §7.8, §9.3.6); with any other answer the connection goes on as HTTP/1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, opens_tunnel
from remora.sidecar.wire.http1.framing import switch_bytes
from remora.sidecar.wire.http1.reader import Message
from remora.sidecar.wire.stream import (
    WRITE_HIGH_WATER,
    RequestHandler,
    RequestHandlerFactory,
    ResetReason,
    ResponseHandler,
)
from remora.sidecar.wire.tcp.raw import RawStream

if TYPE_CHECKING:
    from remora.sidecar.wire.http1.client import Http1ClientConnection
    from remora.sidecar.wire.http1.server import Http1ServerConnection
    from remora.sidecar.wire.http1.stream import ServerStream


class ServerTunnel(RawStream):
    """The RequestStream of a request for a tunnel. What comes behind its head waits here for the answer."""

    __slots__ = ("_connection", "_message", "_refused", "_stream")

    def __init__(self, connection: Http1ServerConnection, stream: ServerStream, message: Message) -> None:
        super().__init__()
        self._connection = connection
        self._stream = stream
        self._message = message
        self._refused = False

    def ask(self, factory: RequestHandlerFactory) -> None:
        """Give the request to a handler."""
        handler = factory(self, self._message.head, False)
        if self._refused:
            self._stream.adopt(handler, self._message)
            return
        self._handler = handler
        if self.is_open:
            self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connection.connection_lost(exc)

    # ── RequestStream ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        if self._refused or (head.status < 200 and head.status != 101):
            self._stream.send_head(head, end)
        elif opens_tunnel(self._message.head, head.status) and not end:
            self._accept(head)
        else:
            self._refuse()
            self._stream.send_head(head, end)

    def _accept(self, head: ResponseHead) -> None:
        if self._transport is not None:
            self._transport.write(switch_bytes(head, self._message.head.upgrade))
        self.is_open = True
        if self._handler is not None:
            self.begin()

    def _refuse(self) -> None:
        self._refused = True
        handler = cast("RequestHandler | None", self._handler)
        self._handler = self._transport = None
        self._stream.is_writable = self._writable
        self._connection.on_tunnel_refused(self._held, reading=self._reading, ended=self._read_ended)
        if handler is not None:
            self._stream.adopt(handler, self._message)

    def send_data(self, data: bytes, end: bool) -> None:
        if self._refused:
            self._stream.send_data(data, end)
        else:
            super().send_data(data, end)

    def send_trailers(self, trailers: Fields) -> None:
        if self._refused:
            self._stream.send_trailers(trailers)
        else:
            super().send_data(b"", True)

    def reset(self, reason: ResetReason) -> None:
        if self._refused:
            self._stream.reset(reason)
        else:
            super().reset(reason)


class ClientTunnel(RawStream):
    """The ResponseStream of a request for a tunnel. What the handler sends waits here for the answer."""

    __slots__ = ("_answered", "_connection", "_to_send", "_to_send_end", "head")

    def __init__(self, connection: Http1ClientConnection, head: RequestHead, handler: ResponseHandler) -> None:
        super().__init__()
        self.head = head
        self._connection = connection
        self._handler = handler
        self._to_send = b""
        self._to_send_end = False
        self._answered = False

    def accept(self, head: ResponseHead, handler: ResponseHandler, transport: asyncio.Transport) -> None:
        """`head`, the answer, opens the tunnel; `handler` hears of it here."""
        self.take_over(transport, reading=self._connection.is_reading, writable=True)
        handler.on_head(head, False)
        if self._handler is None:
            return
        self.begin()
        data = self._end_wait()
        if data or self._to_send_end:
            super().send_data(data, self._to_send_end)

    def refuse(self) -> None:
        """The answer opens no tunnel: nothing is sent in it."""
        self._end_wait()
        self._handler = None

    def _end_wait(self) -> bytes:
        """Keep nothing any more; gives what was kept."""
        self._answered = True
        data, self._to_send = self._to_send, b""
        if len(data) > WRITE_HIGH_WATER and self._handler is not None:
            self._handler.on_writable(True)
        return data

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.on_tunnel_lost()
        super().connection_lost(exc)

    # ── ResponseStream ──

    def send_data(self, data: bytes, end: bool) -> None:
        if self._answered:
            super().send_data(data, end)
            return
        self._to_send += data
        self._to_send_end = end
        if len(self._to_send) > WRITE_HIGH_WATER and self._handler is not None:
            self._handler.on_writable(False)

    def send_trailers(self, trailers: Fields) -> None:  # noqa: ARG002
        self.send_data(b"", True)

    def reset(self, reason: ResetReason) -> None:
        if self.is_open:
            super().reset(reason)
        else:
            self._handler = None
            self._connection.reset(reason)

    def pause(self) -> None:
        if self.is_open:
            super().pause()
        else:
            self._asked_to_pause = True
            self._connection.pause()

    def resume(self) -> None:
        if self.is_open:
            super().resume()
        else:
            self._asked_to_pause = False
            self._connection.resume()
