"""From an upstream's bytes to answers: heads checked, bodies, trailers (RFC 9112).

What is no proper answer is refused, never repaired: who reads it in another way could be made to take the next answer
for another request's.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from remora.sidecar.wire.heads import MESH_BYTES, Fields, RequestHead, ResponseHead, size_of_fields
from remora.sidecar.wire.http1.fields import (
    MAX_LENGTH_DIGITS,
    RESPONSE_KINDS,
    UNPARSED_BODY_BYTES,
    VERSIONS,
    Kind,
    without_nominated,
)
from remora.sidecar.wire.http1.framing import BODILESS
from remora.sidecar.wire.stream import ResponseHandler

MAX_HEAD_BYTES = 60 * 1024
"""Of an answer's head, with those of its interim answers, and of its trailers: Envoy's max_response_headers_kb."""


class UpstreamProtocolError(Exception):
    """An upstream's answer that is none; the text says why."""


class AnswerOwner(Protocol):
    """The connection, as its reader sees it."""

    def on_tunnel_answer(self, head: ResponseHead, handler: ResponseHandler) -> bool:
        """The final head of the answer to who asked for a tunnel. Whether it opens the tunnel: what follows is no HTTP
        then, and `handler` has heard of it."""

    def on_keep_alive(self, value: bytes) -> None:
        """A Keep-Alive field, as it came."""


class AnswerReader:
    """Feeds one connection's bytes to httptools and the answers in them to who waits for each."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_content_length",
        "_fields",
        "_head_bytes",
        "_head_only",
        "_in_head",
        "_left",
        "_owner",
        "_parser",
        "_past_parser",
        "_status",
        "_trailers",
        "asks_for_tunnel",
        "handler",
        "is_awaiting",
        "keep_alive",
    )

    def __init__(self, owner: AnswerOwner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._past_parser = False
        """The rest of this body is not parsed."""
        self._head_only = False
        self._head_bytes = 0
        """What came since the request, or since the last piece of body."""
        self._in_head = True
        self._status = 0
        self._fields: Fields = []
        self._connection = b""
        self._content_length: int | None = None
        self._chunked = False
        self._left = -1
        """Bytes of the body still to be read; -1: chunked, none, or until the connection ends."""
        self._trailers: Fields | None = None
        self.handler: ResponseHandler | None = None
        """Who waits for the answer, or for the rest of it; None: nobody does."""
        self.asks_for_tunnel = False
        self.is_awaiting = False
        """From the request until the end of its answer; the handler may know the end before."""
        self.keep_alive = True
        """Whether another request may follow."""

    def begin(self, head: RequestHead, handler: ResponseHandler) -> None:
        """The request `head` is sent, whose answer is for `handler`."""
        self.handler = handler
        self.is_awaiting = self._in_head = True
        self._head_only = head.method == b"HEAD"
        self._head_bytes = 0

    @property
    def has_nothing(self) -> bool:
        """Whether nothing at all has come since the request."""
        return self._in_head and self._head_bytes == 0

    @property
    def is_until_close(self) -> bool:
        """Whether the end of the connection is that of the body."""
        return not self._in_head and self._left < 0 and not self._chunked

    def feed(self, data: bytes) -> None:
        """Read on. Raises UpstreamProtocolError, or what httptools raises."""
        if self._past_parser:
            self._skip_parser(data)
            return
        self._head_bytes += len(data)
        self._parser.feed_data(data)
        self._past_parser = self._left > UNPARSED_BODY_BYTES
        if self._head_bytes - MESH_BYTES > MAX_HEAD_BYTES:
            raise UpstreamProtocolError(f"a head or trailers of over {MAX_HEAD_BYTES} bytes")

    def _skip_parser(self, data: bytes) -> None:
        left = self._left
        if len(data) < left:
            self.on_body(data)
            return
        self._past_parser = False
        self._parser = httptools.HttpResponseParser(self)
        if len(data) > left:
            # More than was announced: the answer is whole, the connection cannot be trusted.
            self.keep_alive = False
        self.on_body(data[:left])
        self.is_awaiting = False

    # ── the parser's calls ──

    def on_message_begin(self) -> None:
        if not self.is_awaiting:
            raise UpstreamProtocolError("bytes follow an answer that nobody asked for")
        self._in_head = True
        self._fields = []
        self._connection = b""
        self._content_length = None
        self._left = -1
        self._chunked = False
        self._trailers = None

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = RESPONSE_KINDS[name]
        # llhttp leaves spaces and tabs behind a value, which are not of it (RFC 9112 §5).
        value = value.rstrip()
        if not self._in_head:
            if kind is None:
                if self._trailers is None:
                    self._trailers = []
                self._trailers.append((name, value))
        elif kind is None:
            self._fields.append((name, value))
        elif kind is Kind.CONTENT_LENGTH:
            if len(value) > MAX_LENGTH_DIGITS:
                raise UpstreamProtocolError("a Content-Length out of all measure")
            self._content_length = int(value)
        elif kind is Kind.TRANSFER_ENCODING:
            if value.lower() != b"chunked" or self._chunked:
                raise UpstreamProtocolError("a transfer coding other than `chunked`, which nobody offered to take")
            self._chunked = True
        elif kind is Kind.CONNECTION:
            self._connection += b"," + value
        elif kind is Kind.KEEP_ALIVE:
            self._owner.on_keep_alive(value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        handler = self.handler
        if handler is None:
            return
        status = self._status = self._parser.get_status_code()
        if self._head_bytes > MAX_HEAD_BYTES and size_of_fields(self._fields) > MAX_HEAD_BYTES:
            # What was read may hold more than the head, so it is measured, but only where it can be too long.
            raise UpstreamProtocolError(f"a head of over {MAX_HEAD_BYTES} bytes")
        fields = without_nominated(self._fields, self._connection) if self._connection else self._fields
        if status < 200:
            self._on_interim(status, fields, handler)
            return
        if self.keep_alive:
            self.keep_alive = self._parser.should_keep_alive()
        if not self.keep_alive and self._parser.get_http_version() not in VERSIONS:
            raise UpstreamProtocolError("an answer of another version than HTTP/1.1 and 1.0")
        length = None if self._chunked else self._content_length
        head = ResponseHead(status, fields, content_length=length)
        if self.asks_for_tunnel and self._owner.on_tunnel_answer(head, handler):
            return
        if self._head_only or status in BODILESS or length == 0:
            self.handler = None
            handler.on_head(head, True)
            if self._head_only and status not in BODILESS:
                # llhttp waits for the body that is announced, but does not come.
                self._parser = httptools.HttpResponseParser(self)
                self.is_awaiting = False
        else:
            self._left = -1 if length is None else length
            handler.on_head(head, False)

    def _on_interim(self, status: int, fields: Fields, handler: ResponseHandler) -> None:
        if status < 100:
            raise UpstreamProtocolError("a status under 100")
        if self._chunked or self._content_length:
            # It has no body (RFC 9110 §8.6, RFC 9112 §6.1); what follows would be read in two ways.
            raise UpstreamProtocolError("an interim answer that announces a body")
        self._in_head = True
        head = ResponseHead(status, fields)
        if status != 101:
            handler.on_head(head, False)
        elif self.asks_for_tunnel:
            self._owner.on_tunnel_answer(head, handler)

    def on_body(self, data: bytes) -> None:
        self._head_bytes = 0
        handler = self.handler
        if handler is None:
            # More than the answer has: to HEAD, for one.
            self.keep_alive = False
            return
        if self._left > 0:
            self._left -= len(data)
            if self._left == 0:
                self.handler = None
                handler.on_data(data, True)
                return
        handler.on_data(data, False)

    def on_message_complete(self) -> None:
        if self._status < 200 or not self.is_awaiting:
            return
        handler = self.handler
        if handler is not None:
            self.handler = None
            if self._trailers:
                handler.on_trailers(self._trailers)
            else:
                handler.on_data(b"", True)
        # The connection is released when the parser has returned.
        self.is_awaiting = False
