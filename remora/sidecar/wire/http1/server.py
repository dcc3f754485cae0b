"""The server side of HTTP/1.1: one connection of a downstream, and the request on it that is being answered.

The connection is itself the stream of its current request (HTTP/1 has one at a time), so that a request costs no object
here. Pipelined requests wait, already parsed, in a backlog that reading stops for; it is bounded by one read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http1.fields import (
    REQUEST_KINDS,
    STATUS_LINES,
    Kind,
    chunk_bytes,
    trailer_bytes,
    without_nominated,
)
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import (
    WRITE_HIGH_WATER,
    WRITE_LOW_WATER,
    RequestHandler,
    RequestHandlerFactory,
    ResetReason,
)

log = logging.getLogger(__name__)

LINGER_S = 1.0
"""How long the rest of a request that was answered early is read and dropped, so that the peer sees the answer, not a
TCP reset (RFC 9112 §9.6)."""

_NO_BODY = frozenset((204, 304))


class _RefusedError(Exception):
    """A request that is answered by the codec itself."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class _Message:
    """A request as the parser has it: its head so far, then its framing."""

    __slots__ = ("connection", "end", "head", "http10", "keep_alive", "left")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.connection = b""
        self.keep_alive = True
        self.http10 = False
        self.end = True
        self.left = -1
        """Bytes of the body still to come; -1: chunked, or no body."""


class Http1ServerConnection(asyncio.Protocol):
    """One downstream connection; also the RequestStream of the request that is being answered."""

    __slots__ = (
        "_backlog",
        "_chunked",
        "_closing",
        "_draining",
        "_factory",
        "_field_count",
        "_handler",
        "_handler_paused",
        "_has_body",
        "_head_bytes",
        "_held_head",
        "_host_count",
        "_in_backlog",
        "_in_head",
        "_limits",
        "_message",
        "_on_closed",
        "_parser",
        "_read_bytes",
        "_reading",
        "_request_open",
        "_response_framed",
        "_response_open",
        "_serving",
        "_trailers",
        "_transport",
        "_url",
        "_writable",
    )

    def __init__(
        self,
        handler_factory: RequestHandlerFactory,
        on_closed: Callable[[Http1ServerConnection], None],
        limits: RequestLimits,
    ) -> None:
        self._factory = handler_factory
        self._on_closed = on_closed
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[_Message | bytes | Fields] = deque()
        self._handler: RequestHandler | None = None
        self._serving: _Message | None = None
        self._message = _Message(RequestHead(b"", b"", b"", []))
        self._request_open = False
        self._response_open = False
        self._response_framed = False
        self._chunked = False
        self._has_body = True
        self._held_head = b""
        self._trailers: Fields | None = None
        self._url = b""
        self._in_backlog = False
        self._in_head = True
        self._head_bytes = 0
        self._read_bytes = 0
        self._field_count = 0
        self._host_count = 0
        self._draining = False
        self._closing = False
        self._reading = True
        self._handler_paused = False
        self._writable = True

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_WATER, WRITE_LOW_WATER)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._read_bytes = len(data)
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
            if self._in_head and self._head_bytes > self._limits.head_bytes:
                raise _RefusedError(431, "head_too_large", f"the request head is over {self._limits.head_bytes} bytes")
        except _RefusedError as refused:
            if not self._closing:
                self._refuse(refused)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade that is not taken is ignored (RFC 9110 §7.8): what follows is the next request.
            rest = data[upgrade.args[0] :]
            if rest and not self._closing:
                self._feed(rest)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _RefusedError):
                raise error.__context__ from None
            log.exception("a request handler failed; its connection is closed")
            self.abort()
        except httptools.HttpParserError as error:
            raise _RefusedError(400, "bad_request", f"not an HTTP/1.1 request: {error}") from None

    def eof_received(self) -> bool:
        """A downstream that has said all may still be waiting for its answer: keep the writing side."""
        if self._serving is None or self._request_open or self._backlog:
            return False
        self._serving.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        self._transport = None
        self._lose_handler(ResetReason.PEER_RESET if self._request_open else ResetReason.CANCELLED)
        self._on_closed(self)

    def pause_writing(self) -> None:
        self._writable = False
        if self._handler is not None:
            self._handler.on_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._handler is not None:
            self._handler.on_writable(True)

    # ── the parser's calls ──

    def on_message_begin(self) -> None:
        self._message = _Message(RequestHead(b"", b"", b"", []))
        self._url = b""
        self._in_head = True
        self._field_count = 0
        self._host_count = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target_bytes:
            raise _RefusedError(414, "target_too_long", f"the request target is over {self._limits.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._on_trailer(name, value)
            return
        self._field_count += 1
        kind = REQUEST_KINDS.get(name.lower())
        if kind is None:
            self._message.head.fields.append((name, value))
        else:
            self._on_special(kind, name, value)

    def _on_special(self, kind: Kind, name: bytes, value: bytes) -> None:
        message = self._message
        head = message.head
        if kind is Kind.HOST:
            self._host_count += 1
            head.authority = value
        elif kind is Kind.CONTENT_LENGTH:
            # llhttp has refused what is not digits, and a second one.
            head.content_length = int(value)
        elif kind is Kind.TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise _RefusedError(501, "transfer_encoding", "only the transfer coding `chunked` is supported")
            message.end = False
        elif kind is Kind.CONNECTION:
            message.connection += b"," + value
        elif kind is Kind.CONTENT_TYPE and head.content_type is None:
            head.content_type = value
        elif kind is Kind.TRACE_PARENT:
            # More than one is as good as none (W3C Trace Context §3.2.1).
            head.trace_parent = value if head.trace_parent is None else b""
        elif kind is Kind.REQUEST_ID:
            head.request_id = value
        elif kind is Kind.GRPC_TIMEOUT:
            head.grpc_timeout = value
        elif kind is Kind.EXPECT:
            head.expect_continue = value.lower() == b"100-continue"
        elif kind is Kind.CONTENT_TYPE:
            head.fields.append((name, value))

    def _on_trailer(self, name: bytes, value: bytes) -> None:
        if self._trailers is None:
            self._trailers = []
        if name.lower() not in REQUEST_KINDS:
            self._trailers.append((name, value))
        if len(self._trailers) > self._limits.fields:
            raise _RefusedError(431, "too_many_fields", f"there are more than {self._limits.fields} trailer fields")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._trailers = None
        if self._closing:
            return
        message = self._message
        self._complete_head(message)
        if self._serving is not None:
            self._backlog.append(message)
            self._update_reading()
        else:
            self._serve(message)

    def _complete_head(self, message: _Message) -> None:
        head, parser = message.head, self._parser
        if self._field_count > self._limits.fields:
            raise _RefusedError(431, "too_many_fields", f"there are more than {self._limits.fields} header fields")
        limit = self._limits.head_bytes
        if max(self._head_bytes, self._read_bytes) > limit and sum(len(k) + len(v) for k, v in head.fields) > limit:
            # What was read may hold more than the head, so it is measured, but only where it can be too long.
            raise _RefusedError(431, "head_too_large", f"the request head is over {self._limits.head_bytes} bytes")
        head.method = parser.get_method()
        message.keep_alive = parser.should_keep_alive()
        if message.connection or not message.keep_alive:
            # A 1.1 message that stays open needs no Connection field, so the version is only asked for here.
            message.http10 = parser.get_http_version() == "1.0"
            head.fields = without_nominated(head.fields, message.connection)
        if self._host_count != 1 and (self._host_count > 1 or not message.http10):
            raise _RefusedError(400, "host", "a request has exactly one Host field (RFC 9112 §3.2)")
        self._complete_target(head)
        if message.end and head.content_length:
            message.end = False
            message.left = head.content_length
        elif not message.end:
            head.content_length = None
        if parser.should_upgrade() and (head.method == b"CONNECT" or not message.end):
            raise _RefusedError(501, "upgrade", "CONNECT, and an Upgrade with a body, are not supported here")

    def _complete_target(self, head: RequestHead) -> None:
        url = self._url
        if url.startswith(b"/") or url == b"*" or head.method == b"CONNECT":
            head.path = url
            return
        # Absolute form: it replaces Host (RFC 9112 §3.2.2).
        scheme, separator, rest = url.partition(b"://")
        if not separator or scheme.lower() != b"http":
            raise _RefusedError(400, "target", "the request target is neither a path nor an http:// URL")
        authority, slash, path = rest.partition(b"/")
        if not slash:
            authority, question, query = rest.partition(b"?")
            path = question + query
        head.authority = authority
        head.path = b"/" + path

    def on_body(self, data: bytes) -> None:
        message = self._message
        if message.left > 0:
            message.left -= len(data)
        if self._serving is not message:
            self._backlog.append(data)
            return
        self._deliver(data, message.left == 0)

    def on_message_complete(self) -> None:
        message = self._message
        # The next message's head may begin in the same read.
        self._in_head = True
        self._head_bytes = 0
        if message.end or message.left == 0:
            return
        if self._serving is not message:
            self._backlog.append(self._trailers or [])
        else:
            self._deliver_end(self._trailers)

    # ── from messages to handlers ──

    def _serve(self, message: _Message) -> None:
        self._serving = message
        self._request_open = not message.end
        self._response_open = True
        self._response_framed = False
        self._has_body = message.head.method != b"HEAD"
        handler = self._factory(self, message.head, message.end)
        if self._serving is message and self._response_open:
            self._handler = handler
            if not self._writable:
                handler.on_writable(False)

    def _deliver(self, data: bytes, end: bool) -> None:
        if end:
            self._request_open = False
        if self._handler is not None:
            self._handler.on_data(data, end)
        if end and not self._response_open:
            self._finish()

    def _deliver_end(self, trailers: Fields | None) -> None:
        self._request_open = False
        if self._handler is not None:
            if trailers:
                self._handler.on_trailers(trailers)
            else:
                self._handler.on_data(b"", True)
        if not self._response_open:
            self._finish()

    def _finish(self) -> None:
        """Both directions of the current request have ended."""
        message = self._serving
        if message is None:
            return
        self._serving = self._handler = None
        self._handler_paused = False
        if not message.keep_alive or (self._draining and not self._backlog):
            self._close()
        elif self._backlog:
            if not self._in_backlog:
                self._serve_backlog()
        elif not self._reading:
            self._update_reading()

    def _serve_backlog(self) -> None:
        self._in_backlog = True
        while self._backlog and not self._closing:
            item = self._backlog[0]
            if isinstance(item, _Message):
                if self._serving is not None:
                    break
                self._backlog.popleft()
                self._serve(item)
            else:
                self._backlog.popleft()
                self._deliver_backlog(item)
        self._in_backlog = False
        self._update_reading()

    def _deliver_backlog(self, item: bytes | Fields) -> None:
        if isinstance(item, list):
            self._deliver_end(item)
            return
        # With a known length the end is the last piece: nothing but the next message may follow it.
        serving = self._serving
        last = not self._backlog or isinstance(self._backlog[0], _Message)
        complete = serving is not None and serving.left == 0
        self._deliver(item, last and complete)

    def _lose_handler(self, reason: ResetReason) -> None:
        handler, self._handler = self._handler, None
        self._serving = None
        self._backlog.clear()
        self._request_open = self._response_open = False
        if handler is not None:
            handler.on_reset(reason)

    # ── RequestStream ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        message, transport = self._serving, self._transport
        if message is None or transport is None or self._response_framed:
            return
        status = head.status
        lines = [STATUS_LINES[status]]
        lines += [b"%b: %b\r\n" % field for field in head.fields]
        if status < 200:
            if not message.http10:
                lines.append(b"\r\n")
                transport.write(b"".join(lines))
            return
        self._response_framed = True
        if self._draining or (self._request_open and end):
            message.keep_alive = False
        self._frame(head, end, message, lines)
        if not message.keep_alive:
            lines.append(b"connection: close\r\n")
        elif message.http10:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        if end:
            transport.write(b"".join(lines))
            self._end_response()
        else:
            self._held_head = b"".join(lines)
            asyncio.get_running_loop().call_soon(self._release_head)

    def _release_head(self) -> None:
        """A head waits until the end of the turn for the body's first piece: one system call for both."""
        held, self._held_head = self._held_head, b""
        if held and self._transport is not None:
            self._transport.write(held)

    def _frame(self, head: ResponseHead, end: bool, message: _Message, lines: list[bytes]) -> None:
        """Choose how the body is delimited (RFC 9112 §6.3)."""
        self._chunked = False
        if head.status in _NO_BODY:
            self._has_body = False
        if head.content_length is not None:
            if head.status != 204:
                lines.append(b"content-length: %d\r\n" % head.content_length)
        elif not self._has_body:
            return
        elif end:
            lines.append(b"content-length: 0\r\n")
        elif message.http10:
            message.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")

    def send_data(self, data: bytes, end: bool) -> None:
        transport = self._transport
        if transport is None or not self._response_open:
            return
        if not self._has_body:
            data = b""
        elif self._chunked:
            data = chunk_bytes(data, end)
        if self._held_head:
            data = self._held_head + data
            self._held_head = b""
        if data:
            transport.write(data)
        if end:
            self._end_response()

    def send_trailers(self, trailers: Fields) -> None:
        if self._transport is None or not self._response_open:
            return
        if self._chunked:
            held, self._held_head = self._held_head, b""
            self._transport.write(held + trailer_bytes(trailers))
        else:
            self._release_head()
        self._end_response()

    def _end_response(self) -> None:
        self._response_open = False
        if not self._request_open:
            self._finish()
            return
        # Answered early: nobody waits for the rest of the request.
        self._handler = None
        self._handler_paused = False
        if self._serving is not None and self._serving.keep_alive:
            self._update_reading()
        else:
            self._linger()

    def reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        if self._response_open:
            self._handler = None
            self.abort()

    def pause(self) -> None:
        if not self._handler_paused:
            self._handler_paused = True
            self._update_reading()

    def resume(self) -> None:
        if self._handler_paused:
            self._handler_paused = False
            self._update_reading()

    # ── ServerConnection ──

    @property
    def live_streams(self) -> int:
        return 0 if self._serving is None else 1

    def drain(self) -> None:
        self._draining = True
        if self._serving is None:
            self._close()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # ── closing and flow ──

    def _close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def _linger(self) -> None:
        self._closing = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def _refuse(self, refused: _RefusedError) -> None:
        """Answer what is not a proper request, and close: what follows it cannot be trusted."""
        if self._serving is not None and (self._serving is not self._message or self._response_framed):
            # An answer is under way, or an earlier request waits for its own: no room for this one's.
            self._lose_handler(ResetReason.PROTOCOL_ERROR)
            self.abort()
            return
        self._lose_handler(ResetReason.PROTOCOL_ERROR)
        if self._transport is None:
            return
        head, body = problem(refused.status, refused.code, refused.detail)
        lines = [STATUS_LINES[head.status], *(b"%b: %b\r\n" % field for field in head.fields)]
        lines.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self._transport.write(b"".join(lines) + body)
        self._linger()

    def _update_reading(self) -> None:
        transport = self._transport
        wanted = not self._handler_paused and not self._backlog
        if transport is None or self._closing or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()
