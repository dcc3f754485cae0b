"""The server side of opaque TCP: a connection is one request, a CONNECT whose answer has no head on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.peer import peer_of
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, ResetReason
from remora.sidecar.wire.tcp.raw import RawStream


class TcpServerConnection(RawStream):
    """One downstream's connection, and the RequestStream of the tunnel that it asks for."""

    __slots__ = ("_factory", "_on_closed")

    def __init__(self, factory: RequestHandlerFactory, on_closed: Callable[[TcpServerConnection], None]) -> None:
        super().__init__()
        self._factory = factory
        self._on_closed = on_closed

    def start(self, transport: asyncio.Transport, seen: bytes, authority: bytes, *, is_tls: bool = False) -> None:
        """Take over `transport`, of which `seen` has been read, and ask for a tunnel to `authority`."""
        self.connection_made(transport)
        transport.set_protocol(self)
        if seen:
            self.data_received(seen)
        head = RequestHead(b"CONNECT", b"", authority, [], scheme=b"tls" if is_tls else b"tcp", peer=peer_of(transport))
        handler = self._factory(self, head, False)
        # Even of a connection that is lost, or was refused just now: connection_lost comes, and is to be told.
        self._handler = handler
        if self.is_open:
            self.begin()

    def let_go(self) -> None:
        """Give the connection, on which nothing was said yet, to another protocol: the tunnel is no longer wanted."""
        handler = cast("RequestHandler | None", self._handler)
        self._handler = None
        if handler is not None:
            handler.on_reset(ResetReason.CANCELLED)
        self._asked_to_pause = False
        self._update_reading()
        self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_closed(self)

    # ── RequestStream ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        """2xx opens the tunnel; a failure cannot be told but by closing."""
        if head.status >= 300 or end:
            self.reset(ResetReason.REFUSED)
        elif head.status >= 200:
            self.is_open = True
            if self._handler is not None:
                self.begin()

    def send_trailers(self, trailers: Fields) -> None:  # noqa: ARG002
        self.send_data(b"", True)

    # ── ServerConnection ──

    @property
    def live_streams(self) -> int:
        return 1

    def drain(self) -> None:
        """Nothing tells the peer of it: the connection lives on until it ends or is aborted."""

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
