"""The client side of opaque TCP: a connection serves one tunnel, and its being there is the answer."""

from __future__ import annotations

import asyncio

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import ConnectionOwner, ResponseHandler
from remora.sidecar.wire.tcp.raw import RawStream


class TcpClientConnection(RawStream):
    """A connection to an endpoint, and the ResponseStream of the one tunnel on it."""

    __slots__ = ("_owner", "_retired", "_taken")

    def __init__(self, owner: ConnectionOwner) -> None:
        super().__init__()
        self._owner = owner
        self._taken = False
        self._retired = False

    # ── ClientConnection ──

    @property
    def free_slots(self) -> int:
        return 0 if self._taken or self._retired else 1

    @property
    def live_streams(self) -> int:
        return 1 if self._taken and not self._retired else 0

    def open(self, head: RequestHead, end: bool, handler: ResponseHandler) -> TcpClientConnection:  # noqa: ARG002
        self._taken = True
        self._handler = handler
        asyncio.get_running_loop().call_soon(self._answer, handler)
        return self

    def _answer(self, handler: ResponseHandler) -> None:
        if self._handler is handler:
            handler.on_head(ResponseHead(200, []), False)
        if self._handler is handler:
            self.begin()

    def drain(self) -> None:
        if not self._taken:
            self.abort()

    def abort(self) -> None:
        self._retire()
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._retire()
        super().connection_lost(exc)

    def _retire(self) -> None:
        if not self._retired:
            self._retired = True
            self._owner.on_connection_closed(self)

    # ── ResponseStream ──

    def send_trailers(self, trailers: Fields) -> None:  # noqa: ARG002
        self.send_data(b"", True)
