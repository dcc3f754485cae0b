"""The request that a downstream's connection is answering, and how its answer is written.

HTTP/1 has one at a time, so each connection has one stream, used for request after request: a request costs no object
here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from remora.sidecar.wire.heads import Fields, ResponseHead
from remora.sidecar.wire.http1.framing import (
    Framing,
    answer_bytes,
    chunk_bytes,
    framing_of,
    interim_bytes,
    trailer_bytes,
)
from remora.sidecar.wire.http1.reader import Message
from remora.sidecar.wire.stream import RequestHandler, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.wire.http1.server import Http1ServerConnection

_NO_BODY, _CHUNKED, _CLOSE = Framing.NO_BODY, Framing.CHUNKED, Framing.CLOSE


class ServerStream:
    """The RequestStream of a connection's current request. The connection reads its state directly."""

    __slots__ = (
        "_connection",
        "_framing",
        "_held_head",
        "_loop",
        "answer_begun",
        "answer_open",
        "handler",
        "is_paused",
        "is_writable",
        "message",
        "request_open",
    )

    def __init__(self, connection: Http1ServerConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._framing = _NO_BODY
        self._held_head = b""
        self.message: Message | None = None
        """The request; None: there is none."""
        self.handler: RequestHandler | None = None
        """None: not known yet, or it wants to hear no more."""
        self.request_open = False
        """More of the request is to come."""
        self.answer_open = False
        """More of the answer is to go."""
        self.answer_begun = False
        """The answer's final head has been sent."""
        self.is_paused = False
        """The handler wants no more of the request for now."""
        self.is_writable = True

    # ── from messages to handlers ──

    def begin(self, message: Message) -> None:
        """`message` is the one to answer now."""
        self.message = message
        self.request_open = not message.end
        self.answer_open = True
        self.answer_begun = False

    def adopt(self, handler: RequestHandler, message: Message) -> None:
        """`handler` was made for `message`; it may have sent the whole answer meanwhile."""
        if self.message is message and self.answer_open:
            self.handler = handler
            if not self.is_writable:
                handler.on_writable(False)

    def deliver(self, data: bytes, end: bool) -> None:
        """A piece of the body has come."""
        if end:
            self.request_open = False
        message = self.message
        if self.handler is not None:
            self.handler.on_data(data, end)
        elif end and not self.answer_open and message is not None:
            self.message = None
            self._connection.on_stream_end(message)

    def deliver_end(self, trailers: Fields | None) -> None:
        """The end of the body has come."""
        if self.handler is None or not trailers:
            self.deliver(b"", True)
        else:
            self.request_open = False
            self.handler.on_trailers(trailers)

    def on_writable(self, writable: bool) -> None:
        """There is room for more of the answer, or no more."""
        self.is_writable = writable
        if self.handler is not None:
            self.handler.on_writable(writable)

    def lose(self, reason: ResetReason) -> None:
        """Neither direction goes on."""
        handler, self.handler = self.handler, None
        self.message = None
        self.request_open = self.answer_open = False
        if handler is not None:
            handler.on_reset(reason)

    # ── RequestStream ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        connection, message = self._connection, self.message
        transport = connection.transport
        if message is None or transport is None or self.answer_begun:
            return
        status = head.status
        if status < 200:
            if not message.http10:
                transport.write(interim_bytes(head))
            return
        self.answer_begun = True
        framing = self._framing = framing_of(message, head, end)
        if connection.is_draining or framing is _CLOSE or (self.request_open and (end or status >= 400)):
            # Nobody wants the rest of a request that has failed; who is told so may save itself the way.
            message.keep_alive = False
        written = answer_bytes(message, head, framing)
        if end:
            transport.write(written)
            self._end_answer()
        else:
            self._held_head = written
            self._loop.call_soon(self._release_head)

    def _release_head(self) -> None:
        """A head waits until the end of the turn for the body's first piece: one system call for both."""
        held, self._held_head = self._held_head, b""
        transport = self._connection.transport
        if held and transport is not None:
            transport.write(held)

    def send_data(self, data: bytes, end: bool) -> None:
        transport = self._connection.transport
        if transport is None or not self.answer_open:
            return
        framing = self._framing
        if framing is _CHUNKED:
            data = chunk_bytes(data, end)
        elif framing is _NO_BODY:
            data = b""
        if self._held_head:
            data = self._held_head + data
            self._held_head = b""
        if data:
            transport.write(data)
        if end:
            self._end_answer()

    def send_trailers(self, trailers: Fields) -> None:
        transport = self._connection.transport
        if transport is None or not self.answer_open:
            return
        if self._framing is _CHUNKED:
            held, self._held_head = self._held_head, b""
            transport.write(held + trailer_bytes(trailers))
        else:
            self._release_head()
        self._end_answer()

    def _end_answer(self) -> None:
        message = self.message
        assert message is not None, "who has no request has no answer to end"
        self.answer_open = self.is_paused = False
        self.handler = None
        if self.request_open:
            self._connection.on_answered_early(message)
        else:
            self.message = None
            self._connection.on_stream_end(message)

    def reset(self, reason: ResetReason) -> None:
        if self.answer_open:
            self.handler = None
            self.lose(reason)
            self._connection.abort()

    def pause(self) -> None:
        if not self.is_paused:
            self.is_paused = True
            self._connection.update_reading()

    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            self._connection.update_reading()
