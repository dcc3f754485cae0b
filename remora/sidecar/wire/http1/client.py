"""The client side of HTTP/1.1: a pooled connection to an endpoint, itself the stream of its current request."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import httptools

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, opens_tunnel
from remora.sidecar.wire.http1.answers import AnswerReader, UpstreamProtocolError
from remora.sidecar.wire.http1.framing import (
    chunk_bytes,
    request_bytes,
    trailer_bytes,
    tunnel_request_bytes,
)
from remora.sidecar.wire.http1.tunnel import ClientTunnel
from remora.sidecar.wire.http1.unsent import CAN_PROVE, has_not_arrived
from remora.sidecar.wire.reads import LARGE_READ_BYTES, bound_reads
from remora.sidecar.wire.stream import (
    SOCKET_HIGH_WATER,
    ConnectionOwner,
    ResetReason,
    ResponseHandler,
    ResponseStream,
)

log = logging.getLogger(__name__)


class Http1ClientConnection(asyncio.Protocol):
    """One connection to an endpoint; also the ResponseStream of the request that waits for its answer."""

    __slots__ = (
        "_held_head",
        "_loop",
        "_owner",
        "_paused",
        "_reader",
        "_request_chunked",
        "_request_open",
        "_retired",
        "_sent_before",
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
        self._reader = AnswerReader(self)
        self._transport: asyncio.Transport | None = None
        self._request_open = False
        self._request_chunked = False
        self._retired = False
        """The owner knows that no stream can be opened any more."""
        self._held_head = b""
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
        return 0 if self._reader.is_awaiting or self._request_open or self._retired else 1

    @property
    def live_streams(self) -> int:
        return 1 if self._reader.is_awaiting or self._request_open else 0

    def open(self, head: RequestHead, end: bool, handler: ResponseHandler) -> ResponseStream:
        transport = self._transport
        assert transport is not None, "a connection is opened on only when it is free"
        self._request_open = not end
        self._reader.begin(head, handler)
        self._request_chunked = not end and head.content_length is None
        self._sent_before += self._written
        if end:
            written = request_bytes(head, end)
            self._written = len(written)
            transport.write(written)
        elif head.asks_for_tunnel:
            return self._ask_for_tunnel(head, handler, transport)
        else:
            self._held_head = request_bytes(head, end)
            self._written = len(self._held_head)
            self._loop.call_soon(self._release_head)
        return self

    def _ask_for_tunnel(
        self, head: RequestHead, handler: ResponseHandler, transport: asyncio.Transport
    ) -> ResponseStream:
        self._request_open = False
        self._reader.asks_for_tunnel = True
        self._tunnel = tunnel = ClientTunnel(self, head, handler)
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
        self._transport = self._tunnel = self._reader.handler = None
        self._request_open = False
        self._retire()

    def _release_head(self) -> None:
        """A head waits until the end of the turn for the body's first piece: one system call for both."""
        held, self._held_head = self._held_head, b""
        if held and self._transport is not None:
            self._transport.write(held)

    def drain(self) -> None:
        self._reader.keep_alive = False
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
        if not self._reader.is_awaiting:
            self._release()

    def reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        # What is still to come of the answer cannot be told from the next one: the connection goes.
        if self._reader.is_awaiting or self._request_open:
            self._give_up()
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
        reader = self._reader
        if reader.handler is None:
            if not self._retired:
                # Nobody asked: the connection can no longer be trusted.
                self._close()
            return
        if len(data) > LARGE_READ_BYTES and self._transport is not None:
            bound_reads(self._transport, self)
        try:
            reader.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._on_switched(data[upgrade.args[0] :])
        except (UpstreamProtocolError, httptools.HttpParserError) as error:
            self._on_parser_error(error)
        else:
            if not reader.is_awaiting and not self._request_open and not self._retired:
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
        return self._reader.handler is not None and self._reader.has_nothing

    def _lose_request(self, *, in_order: bool) -> None:
        """The connection ends, with FIN (`in_order`) or otherwise, before any byte of the answer."""
        handler, transport = self._give_up(), self._transport
        self._held_head = b""
        if handler is None:
            return
        if in_order and transport is not None and has_not_arrived(transport, self._sent_before):
            handler.on_reset(ResetReason.STALE if self.reused else ResetReason.REFUSED)
        elif self.reused and self.idle_s and not (in_order and CAN_PROVE):
            handler.on_reset(ResetReason.CLOSING)
        else:
            # In order, and it has arrived: the peer has read it.
            handler.on_reset(ResetReason.PEER_RESET)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_unanswered:
            self.was_stale = self.reused
            self._retire()
            # EPIPE is what writing brings after the peer's FIN; after its RST it is ECONNRESET.
            self._lose_request(in_order=exc is None or isinstance(exc, BrokenPipeError))
        self._transport = None
        until_close = self._reader.is_until_close
        self._retire()
        handler = self._give_up()
        if handler is None:
            return
        if until_close and exc is None:
            handler.on_data(b"", True)
        else:
            handler.on_reset(ResetReason.PEER_RESET)

    def pause_writing(self) -> None:
        self._writable = False
        handler = self._reader.handler
        if handler is not None:
            handler.on_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        handler = self._reader.handler
        if handler is not None:
            handler.on_writable(True)

    # ── what the reader has to say ──

    def on_tunnel_answer(self, head: ResponseHead, handler: ResponseHandler) -> bool:
        tunnel, transport = self._tunnel, self._transport
        if tunnel is None or transport is None:
            return False
        if not opens_tunnel(tunnel.head, head.status):
            self._tunnel = None
            self._reader.asks_for_tunnel = False
            tunnel.refuse()
            return False
        # From here on the tunnel is what makes the connection a busy one; an answer it is no more.
        self._request_open = True
        self._reader.is_awaiting = False
        tunnel.accept(head, handler, transport)
        return True

    def on_keep_alive(self, value: bytes) -> None:
        self._owner.on_keep_alive(value)

    # ── the end of a response, and of the connection ──

    def _give_up(self) -> ResponseHandler | None:
        """Neither direction goes on; gives whoever still waits for the answer."""
        reader = self._reader
        handler, reader.handler = reader.handler, None
        self._request_open = reader.is_awaiting = False
        return handler

    def _release(self) -> None:
        if self._paused:
            self.resume()
        if self._reader.keep_alive and not self._retired:
            self.reused = True
            self.idle_s = 0.0
            self._owner.on_connection_free(self)
        else:
            self._close()

    def _fail(self) -> None:
        handler = self._give_up()
        self.abort()
        if handler is not None:
            handler.on_reset(ResetReason.PROTOCOL_ERROR)

    def _close(self) -> None:
        self._retire()
        if self._transport is not None:
            self._transport.close()

    def _retire(self) -> None:
        if not self._retired:
            self._retired = True
            self._owner.on_connection_closed(self)
