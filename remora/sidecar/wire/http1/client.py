"""The client side of HTTP/1.1: a pooled connection to an endpoint, itself the stream of its current request."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import httptools

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http1.fields import (
    MAX_LENGTH_DIGITS,
    RESPONSE_KINDS,
    UNPARSED_BODY_BYTES,
    Kind,
    without_nominated,
)
from remora.sidecar.wire.http1.framing import (
    BODILESS,
    chunk_bytes,
    request_bytes,
    trailer_bytes,
    tunnel_request_bytes,
)
from remora.sidecar.wire.http1.tunnel import ClientTunnel
from remora.sidecar.wire.http1.unsent import has_not_arrived
from remora.sidecar.wire.reads import LARGE_READ_BYTES, bound_reads
from remora.sidecar.wire.stream import (
    SOCKET_HIGH_WATER,
    ConnectionOwner,
    ResetReason,
    ResponseHandler,
    ResponseStream,
)

log = logging.getLogger(__name__)

_VERSIONS = ("1.1", "1.0")

MAX_HEAD_BYTES = 60 * 1024
"""Of an answer's head, with those of its interim answers, and of its trailers: Envoy's max_response_headers_kb."""


class UpstreamProtocolError(Exception):
    """An upstream's answer that is none; the text says why."""


class Http1ClientConnection(asyncio.Protocol):
    """One connection to an endpoint; also the ResponseStream of the request that waits for its answer."""

    __slots__ = (
        "_connection",
        "_content_length",
        "_fields",
        "_handler",
        "_head_bytes",
        "_head_only",
        "_held_head",
        "_in_head",
        "_in_response",
        "_keep_alive",
        "_left",
        "_loop",
        "_owner",
        "_parser",
        "_past_parser",
        "_paused",
        "_request_chunked",
        "_request_open",
        "_response_chunked",
        "_response_open",
        "_retired",
        "_sent_before",
        "_status",
        "_trailers",
        "_transport",
        "_tunnel",
        "_writable",
        "_written",
        "idle_s",
        "reused",
        "was_stale",
    )

    def __init__(self, owner: ConnectionOwner) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._past_parser = False
        """The rest of this body is not parsed."""
        self._transport: asyncio.Transport | None = None
        self._handler: ResponseHandler | None = None
        self._request_open = False
        self._request_chunked = False
        self._response_open = False
        self._response_chunked = False
        self._retired = False
        """The owner knows that no stream can be opened any more."""
        self._keep_alive = True
        self._head_only = False
        self._head_bytes = 0
        """What came since the request, or since the last piece of body."""
        self._held_head = b""
        self._in_head = True
        self._in_response = False
        """From the request until the parser has seen the end of its answer; the handler may know the end before."""
        self._status = 0
        self._fields: Fields = []
        self._connection = b""
        self._content_length: int | None = None
        self._left = -1
        self._trailers: Fields | None = None
        self._paused = False
        self._tunnel: ClientTunnel | None = None
        """The tunnel that is asked for, or open."""
        self._writable = True
        self._written = 0
        """Bytes of the request so far."""
        self._sent_before = 0
        """Bytes of the requests before it."""
        self.reused = False
        """Whether a request before this one was answered on it."""
        self.idle_s = 0.0
        """How long it was idle before the request, where the pool has found that worth a look."""
        self.was_stale = False
        """It ended when it was to be used again."""

    # ── ClientConnection ──

    @property
    def free_slots(self) -> int:
        return 0 if self._in_response or self._request_open or self._retired else 1

    @property
    def live_streams(self) -> int:
        return 1 if self._in_response or self._request_open else 0

    def open(self, head: RequestHead, end: bool, handler: ResponseHandler) -> ResponseStream:
        transport = self._transport
        assert transport is not None, "a connection is opened on only when it is free"
        self._handler = handler
        self._request_open = not end
        self._response_open = self._in_response = self._in_head = True
        self._request_chunked = not end and head.content_length is None
        self._head_only = head.method == b"HEAD"
        self._head_bytes = 0
        self._in_head = True
        self._sent_before += self._written
        if end:
            written = request_bytes(head, end)
            self._written = len(written)
            transport.write(written)
        elif head.asks_for_tunnel:
            return self._ask_for_tunnel(head, transport)
        else:
            self._held_head = request_bytes(head, end)
            self._written = len(self._held_head)
            self._loop.call_soon(self._release_head)
        return self

    def _ask_for_tunnel(self, head: RequestHead, transport: asyncio.Transport) -> ResponseStream:
        self._request_open = False
        self._tunnel = tunnel = ClientTunnel(self, head)
        written = tunnel_request_bytes(head)
        self._written = len(written)
        transport.write(written)
        return tunnel

    @property
    def is_reading(self) -> bool:
        """Whether nobody has asked for a pause."""
        return not self._paused

    def on_tunnel_lost(self) -> None:
        """The connection is gone, with the tunnel that it had become."""
        self._transport = self._handler = self._tunnel = None
        self._response_open = self._request_open = False
        self._retire()

    def _release_head(self) -> None:
        """A head waits until the end of the turn for the body's first piece: one system call for both."""
        held, self._held_head = self._held_head, b""
        if held and self._transport is not None:
            self._transport.write(held)

    def drain(self) -> None:
        self._keep_alive = False
        if not self._retired and self.live_streams == 0:
            self._close()

    def abort(self) -> None:
        self._retire()
        if self._transport is not None:
            self._transport.abort()

    # ── ResponseStream ──

    def send_data(self, data: bytes, end: bool) -> None:
        transport = self._transport
        if transport is None or not self._request_open:
            return
        if self._request_chunked:
            data = chunk_bytes(data, end)
        self._written += len(data)
        if self._held_head:
            data = self._held_head + data
            self._held_head = b""
        if data:
            transport.write(data)
        if end:
            self._end_request()

    def send_trailers(self, trailers: Fields) -> None:
        if self._transport is None or not self._request_open:
            return
        held, self._held_head = self._held_head, b""
        self._transport.write(held + trailer_bytes(trailers) if self._request_chunked else held)
        self._end_request()

    def _end_request(self) -> None:
        self._request_open = False
        if not self._in_response:
            self._release()

    def reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        # What is still to come of the answer cannot be told from the next one: the connection goes.
        if self._in_response or self._request_open:
            self._handler = None
            self._response_open = self._request_open = self._in_response = False
            self.abort()

    def pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(SOCKET_HIGH_WATER, 0)

    def data_received(self, data: bytes) -> None:
        if self._retired and not self._response_open:
            return
        if not self._response_open:
            # Nobody asked: the connection can no longer be trusted.
            self._close()
            return
        if len(data) > LARGE_READ_BYTES and self._transport is not None:
            bound_reads(self._transport, self)
        if self._past_parser:
            self._on_unparsed(data)
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            self._past_parser = self._left > UNPARSED_BODY_BYTES
        except httptools.HttpParserUpgrade as upgrade:
            self._on_switched(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._on_parser_error(error)
        else:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._on_parser_error(UpstreamProtocolError(f"a head or trailers of over {MAX_HEAD_BYTES} bytes"))
            elif not self._in_response and not self._request_open and not self._retired:
                # Only now: had there been more behind the answer, it would have been read as that to the next request.
                self._release()

    def _on_parser_error(self, error: Exception) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        if isinstance(cause, UpstreamProtocolError | httptools.HttpParserError):
            log.debug("an upstream broke HTTP/1.1: %s", cause)
        else:
            log.error("a response handler failed; its connection is closed", exc_info=cause)
        self._fail()

    def _on_switched(self, rest: bytes) -> None:
        """The peer has switched protocols; `rest` is of the new one."""
        tunnel = self._tunnel
        if tunnel is None or not tunnel.is_open:
            self._fail()
        elif rest:
            tunnel.data_received(rest)

    def _on_unparsed(self, data: bytes) -> None:
        left = self._left
        if len(data) < left:
            self.on_body(data)
            return
        self._past_parser = False
        self._parser = httptools.HttpResponseParser(self)
        if len(data) > left:
            # More than was announced: the answer is whole, the connection cannot be trusted.
            self._keep_alive = False
        self.on_body(data[:left])
        self._end_response()

    def eof_received(self) -> bool:
        # Now, not when the loop comes to connection_lost: a request in between would be lost.
        self.was_stale = self.reused and self._is_unanswered
        self._retire()
        if self._is_unanswered:
            self._lose_request(in_order=True)
        return False

    @property
    def _is_unanswered(self) -> bool:
        """Whether a request was sent, or begun, and nothing at all has come back."""
        return self._response_open and self._in_head and self._head_bytes == 0

    def _lose_request(self, *, in_order: bool) -> None:
        """The connection ends, with FIN (`in_order`) or otherwise, before any byte of the answer."""
        handler, transport = self._handler, self._transport
        self._handler = None
        self._response_open = self._request_open = self._in_response = False
        self._held_head = b""
        if handler is None:
            return
        if in_order and transport is not None and has_not_arrived(transport, self._sent_before):
            handler.on_reset(ResetReason.STALE if self.reused else ResetReason.REFUSED)
        else:
            handler.on_reset(ResetReason.PEER_RESET)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_unanswered:
            self.was_stale = self.reused
            self._retire()
            # EPIPE is what writing brings after the peer's FIN; after its RST it is ECONNRESET.
            self._lose_request(in_order=exc is None or isinstance(exc, BrokenPipeError))
        self._transport = None
        handler = self._handler
        until_close = self._response_open and not self._in_head and self._left < 0 and not self._response_chunked
        self._retire()
        if handler is None or not self._response_open:
            return
        self._handler = None
        self._response_open = self._request_open = self._in_response = False
        if until_close and exc is None:
            handler.on_data(b"", True)
        else:
            handler.on_reset(ResetReason.PEER_RESET)

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
        if not self._in_response:
            raise UpstreamProtocolError("bytes follow an answer that nobody asked for")
        self._in_head = True
        self._fields = []
        self._connection = b""
        self._content_length = None
        self._left = -1
        self._response_chunked = False
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
            if value.lower() != b"chunked" or self._response_chunked:
                raise UpstreamProtocolError("a transfer coding other than `chunked`, which nobody offered to take")
            self._response_chunked = True
        elif kind is Kind.CONNECTION:
            self._connection += b"," + value
        elif kind is Kind.KEEP_ALIVE:
            self._owner.on_keep_alive(value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        handler = self._handler
        if handler is None or not self._response_open:
            return
        status = self._parser.get_status_code()
        self._status = status
        if self._head_bytes > MAX_HEAD_BYTES and sum(len(k) + len(v) for k, v in self._fields) > MAX_HEAD_BYTES:
            # What was read may hold more than the head, so it is measured, but only where it can be too long.
            raise UpstreamProtocolError(f"a head of over {MAX_HEAD_BYTES} bytes")
        fields = without_nominated(self._fields, self._connection) if self._connection else self._fields
        if status < 200:
            self._on_interim(status, fields, handler)
            return
        if self._keep_alive:
            self._keep_alive = self._parser.should_keep_alive()
        if not self._keep_alive and self._parser.get_http_version() not in _VERSIONS:
            raise UpstreamProtocolError("an answer of another version than HTTP/1.1 and 1.0")
        length = None if self._response_chunked else self._content_length
        head = ResponseHead(status, fields, content_length=length)
        if self._tunnel is not None and self._settle_tunnel(self._tunnel, head, handler):
            return
        if self._head_only or status in BODILESS or length == 0:
            self._close_stream()
            handler.on_head(head, True)
            if self._head_only and status not in BODILESS:
                self._end_bodiless()
        else:
            self._left = -1 if length is None else length
            handler.on_head(head, False)

    def _on_interim(self, status: int, fields: Fields, handler: ResponseHandler) -> None:
        if status < 100:
            raise UpstreamProtocolError("a status under 100")
        if self._response_chunked or self._content_length:
            # It has no body (RFC 9110 §8.6, RFC 9112 §6.1); what follows would be read in two ways.
            raise UpstreamProtocolError("an interim answer that announces a body")
        self._in_head = True
        if status != 101:
            handler.on_head(ResponseHead(status, fields), False)
        elif self._tunnel is not None:
            self._settle_tunnel(self._tunnel, ResponseHead(status, fields), handler)

    def _settle_tunnel(self, tunnel: ClientTunnel, head: ResponseHead, handler: ResponseHandler) -> bool:
        transport = self._transport
        if transport is None:
            return False
        # From here on the tunnel is what makes the connection a busy one; an answer it is no more.
        self._request_open = True
        self._in_response = False
        if tunnel.settle(head, handler, transport):
            return True
        self._tunnel = None
        self._request_open = False
        self._in_response = True
        return False

    def on_body(self, data: bytes) -> None:
        self._head_bytes = 0
        handler = self._handler
        if handler is None or not self._response_open:
            # More than the answer has: to HEAD, for one.
            self._keep_alive = False
            return
        if self._left > 0:
            self._left -= len(data)
            if self._left == 0:
                self._close_stream()
                handler.on_data(data, True)
                return
        handler.on_data(data, False)

    def on_message_complete(self) -> None:
        if self._status < 200 or not self._in_response:
            return
        handler = self._handler
        if handler is not None and self._response_open:
            self._close_stream()
            if self._trailers:
                handler.on_trailers(self._trailers)
            else:
                handler.on_data(b"", True)
        # The connection is released when the parser has returned.
        self._in_response = False

    # ── the end of a response, and of the connection ──

    def _close_stream(self) -> None:
        """The handler is about to get the last piece; nothing follows."""
        self._response_open = False
        self._handler = None

    def _end_bodiless(self) -> None:
        """llhttp waits for the body that HEAD's answer announces but does not have: go on with a new parser, in the
        next turn, when the old one has returned."""
        self._parser = httptools.HttpResponseParser(self)
        self._loop.call_soon(self._end_response)

    def _end_response(self) -> None:
        if not self._in_response:
            return
        self._in_response = False
        if not self._request_open:
            self._release()

    def _release(self) -> None:
        if self._paused:
            self.resume()
        if self._keep_alive and not self._retired:
            self.reused = True
            self.idle_s = 0.0
            self._owner.on_connection_free(self)
        else:
            self._close()

    def _fail(self) -> None:
        handler, self._handler = self._handler, None
        opened = self._response_open
        self._response_open = self._request_open = self._in_response = False
        self.abort()
        if handler is not None and opened:
            handler.on_reset(ResetReason.PROTOCOL_ERROR)

    def _close(self) -> None:
        self._retire()
        if self._transport is not None:
            self._transport.close()

    def _retire(self) -> None:
        if not self._retired:
            self._retired = True
            self._owner.on_connection_closed(self)
