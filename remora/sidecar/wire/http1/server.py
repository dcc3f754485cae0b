"""The server side of HTTP/1.1: one connection of a downstream, and the request on it that is being answered.

The connection is itself the stream of its current request (HTTP/1 has one at a time), so that a request costs no object
here. What is pipelined behind it waits in a `Pipeline`, for which reading stops; how long the peer may take is for its
`Patience` to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from remora.sidecar.wire.heads import Fields, ResponseHead
from remora.sidecar.wire.http1.fields import UNPARSED_BODY_BYTES
from remora.sidecar.wire.http1.framing import (
    Framing,
    answer_bytes,
    chunk_bytes,
    framing_of,
    interim_bytes,
    refusal_bytes,
    trailer_bytes,
)
from remora.sidecar.wire.http1.pipeline import Item, Pipeline
from remora.sidecar.wire.http1.reader import PIECE_BYTES, Message, RequestReader
from remora.sidecar.wire.http1.tunnel import ServerTunnel
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.patience import Patience, Wait
from remora.sidecar.wire.reads import LARGE_READ_BYTES, bound_reads
from remora.sidecar.wire.refused import RefusedError
from remora.sidecar.wire.stream import SOCKET_HIGH_WATER, RequestHandler, RequestHandlerFactory, ResetReason
from remora.sidecar.wire.watch import Watch

log = logging.getLogger(__name__)

LINGER_S = 1.0
"""How long the rest of a request that was answered early is read and dropped, so that the peer sees the answer, not a
TCP reset (RFC 9112 §9.6). Only of a small rest the end is waited for, if the answer is no failure."""

_NO_BODY, _CHUNKED, _CLOSE = Framing.NO_BODY, Framing.CHUNKED, Framing.CLOSE


class Http1ServerConnection(asyncio.Protocol):
    """One downstream connection; also the RequestStream of the request that is being answered."""

    __slots__ = (
        "_closing",
        "_draining",
        "_factory",
        "_framing",
        "_handler",
        "_handler_paused",
        "_held_head",
        "_loop",
        "_on_closed",
        "_on_refused",
        "_patience",
        "_pipeline",
        "_reader",
        "_reading",
        "_request_open",
        "_response_framed",
        "_response_open",
        "_serving",
        "_transport",
        "_tunnel",
        "_writable",
    )

    def __init__(
        self,
        handler_factory: RequestHandlerFactory,
        on_closed: Callable[[Http1ServerConnection], None],
        limits: RequestLimits,
        watch: Watch | None = None,
        on_refused: Callable[[int], None] | None = None,
    ) -> None:
        """`watch` keeps the times of `limits`. `on_refused` hears the status of what is refused before a handler has
        seen it."""
        self._loop = asyncio.get_running_loop()
        self._factory = handler_factory
        self._on_closed = on_closed
        self._on_refused = on_refused
        self._patience = Patience(limits, watch)
        self._reader = RequestReader(self, limits)
        self._transport: asyncio.Transport | None = None
        self._pipeline: Pipeline | None = None
        """What waits behind the request that is served; None: nothing does."""
        self._handler: RequestHandler | None = None
        self._serving: Message | None = None
        self._tunnel: ServerTunnel | None = None
        """The tunnel that is asked for, or open; it is the transport's protocol then."""
        self._request_open = False
        self._response_open = False
        self._response_framed = False
        self._framing = _NO_BODY
        self._held_head = b""
        self._draining = False
        self._closing = False
        self._reading = True
        self._handler_paused = False
        self._writable = True

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(SOCKET_HIGH_WATER, 0)
        self._patience.begin(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._patience.heard = True
        try:
            if len(data) > PIECE_BYTES:
                if len(data) > LARGE_READ_BYTES and self._transport is not None:
                    bound_reads(self._transport, self)
                self._feed_in_pieces(data, 0)
            else:
                self._reader.feed(data)
        except Exception as error:
            self._on_error(error)

    def _on_error(self, error: Exception) -> None:
        if not isinstance(error, RefusedError):
            log.error("a request handler failed; its connection is closed", exc_info=error)
            self.abort()
        elif not self._closing:
            self._refuse(error)

    def _feed_in_pieces(self, data: bytes, start: int) -> None:
        """Parse no more than one request ahead of the one that is served; the rest waits as bytes."""
        reader = self._reader
        while start < len(data) and not self._closing:
            pipeline = self._pipeline
            if pipeline is not None and pipeline.has_parsed:
                pipeline.keep_unparsed(data, start)
                return
            stop = reader.stop_of(data, start)
            reader.feed(data[start:stop])
            start = stop
            if self._tunnel is not None:
                self._tunnel.data_received(data[start:])
                return

    def _read_on(self) -> None:
        """Parse what waits, in a turn of the loop of its own."""
        if self._pipeline is None or self._closing:
            return
        data, start = self._pipeline.take_unparsed()
        try:
            self._feed_in_pieces(data, start)
        except Exception as error:
            self._on_error(error)
        if not self._closing:
            self._update_reading()

    def eof_received(self) -> bool:
        """A downstream that has said all may still be waiting for its answer: keep the writing side."""
        pipeline = self._pipeline
        if self._serving is None or self._request_open or (pipeline is not None and not pipeline.is_empty):
            return False
        self._serving.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        self._transport = None
        self._patience.end(self)
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

    # ── RequestSink ──

    def on_request(self, message: Message) -> None:
        if self._closing:
            return
        if self._serving is not None:
            if self._pipeline is not None and self._pipeline.is_full:
                raise RefusedError(400, "pipeline", "too many requests in one piece behind a chunked body")
            self._wait_in_line(message)
            self._update_reading()
        else:
            self._serve(message)

    def on_request_data(self, message: Message, data: bytes, end: bool) -> None:
        if self._serving is message:
            self._deliver(data, end)
        elif not self._closing:
            self._wait_in_line(data)

    def on_request_end(self, message: Message, trailers: Fields | None) -> None:
        if self._serving is message:
            self._deliver_end(trailers)
        elif not self._closing:
            self._wait_in_line(trailers or [])

    def on_tunnel_data(self, message: Message, data: bytes) -> bool:
        tunnel = self._tunnel
        if self._closing:
            return True
        if self._serving is not message:
            # Its turn has not come, or it has been refused at once.
            waiting = self._pipeline is not None and self._pipeline.ends_with(message)
            if waiting:
                self._wait_in_line(data)
            return waiting
        if tunnel is not None:
            tunnel.data_received(data)
        return tunnel is not None

    def _wait_in_line(self, item: Item) -> None:
        if self._pipeline is None:
            self._pipeline = Pipeline()
        self._pipeline.add(item)

    # ── from messages to handlers ──

    def _serve(self, message: Message) -> None:
        self._serving = message
        self._request_open = not message.end
        self._response_open = True
        self._response_framed = False
        if not message.end and message.head.asks_for_tunnel:
            self._serve_tunnel(message)
            return
        handler = self._factory(self, message.head, message.end)
        if self._is_answering(message):
            self._handler = handler
            if not self._writable:
                handler.on_writable(False)

    def _is_answering(self, message: Message) -> bool:
        """Whether `message` still waits for its answer; a handler may have sent all of it while it was made. (Written
        where it is asked, mypyc would take what was assigned above for what still is.)"""
        return self._serving is message and self._response_open

    def _serve_tunnel(self, message: Message) -> None:
        transport = self._transport
        assert transport is not None, "requests are served while the connection lives"
        self._request_open = False
        self._tunnel = tunnel = ServerTunnel(self, message.head)
        tunnel.take_over(transport, reading=self._reading, writable=self._writable)
        if self._pipeline is not None:
            behind = self._pipeline.take_bytes()
            self._pipeline = None
            if behind:
                tunnel.data_received(behind)
        tunnel.ask(self._factory)

    def adopt(self, handler: RequestHandler) -> None:
        """`handler` of a refused tunnel hears of what befalls the connection while its answer is on the way."""
        if self._response_open and not self._closing:
            self._handler = handler

    def on_tunnel_refused(self, held: bytes, *, reading: bool, writable: bool, ended: bool) -> None:
        """The answer will be no tunnel: go on as HTTP/1, with what came behind the request."""
        message, transport = self._serving, self._transport
        self._tunnel = None
        if message is None or transport is None:
            return
        transport.set_protocol(self)
        self._reading = reading
        self._writable = writable
        if message.head.upgrade is None or ended:
            # Nobody can tell whether bytes behind a CONNECT were meant for the tunnel; behind an end there is nothing.
            message.keep_alive = False
        elif held or not reading:
            self._loop.call_soon(self._go_on, held)

    def _go_on(self, held: bytes) -> None:
        if held:
            self.data_received(held)
        if not self._closing:
            self._update_reading()

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
        self._reader.forget(message)
        pipeline = self._pipeline
        if not message.keep_alive or (self._draining and (pipeline is None or not pipeline.has_parsed)):
            self._close()
        elif pipeline is not None:
            if not pipeline.is_moving:
                self._serve_pipeline(pipeline)
        elif not self._reading:
            self._update_reading()

    def _serve_pipeline(self, pipeline: Pipeline) -> None:
        """Go on with what waits, as far as that can be."""
        pipeline.is_moving = True
        while self._pipeline is pipeline and not self._closing:
            item = pipeline.next(is_answering=self._serving is not None, is_reading=self._request_open)
            if item is None:
                break
            if isinstance(item, RefusedError):
                self._refuse(item)
                break
            if isinstance(item, Message):
                self._serve(item)
            elif isinstance(item, list):
                self._deliver_end(item)
            else:
                # With a known length the end is the last piece: nothing but the next message may follow it.
                complete = self._serving is not None and self._serving.left == 0
                self._deliver(item, complete and pipeline.is_at_next_message)
        pipeline.is_moving = False
        self._update_reading()

    def _lose_handler(self, reason: ResetReason) -> None:
        handler, self._handler = self._handler, None
        self._serving = None
        self._pipeline = None
        self._request_open = self._response_open = False
        if handler is not None:
            handler.on_reset(reason)

    # ── RequestStream ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        message, transport = self._serving, self._transport
        if message is None or transport is None or self._response_framed:
            return
        status = head.status
        if status < 200:
            if not message.http10:
                transport.write(interim_bytes(head))
            return
        self._response_framed = True
        framing = self._framing = framing_of(message, head, end)
        if self._draining or framing is _CLOSE or (self._request_open and (end or status >= 400)):
            # Nobody wants the rest of a request that has failed; who is told so may save itself the way.
            message.keep_alive = False
        written = answer_bytes(message, head, framing)
        if end:
            transport.write(written)
            self._end_response()
        else:
            self._held_head = written
            self._loop.call_soon(self._release_head)

    def _release_head(self) -> None:
        """A head waits until the end of the turn for the body's first piece: one system call for both."""
        held, self._held_head = self._held_head, b""
        if held and self._transport is not None:
            self._transport.write(held)

    def send_data(self, data: bytes, end: bool) -> None:
        transport = self._transport
        if transport is None or not self._response_open:
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
            self._end_response()

    def send_trailers(self, trailers: Fields) -> None:
        if self._transport is None or not self._response_open:
            return
        if self._framing is _CHUNKED:
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
        serving = self._serving
        if serving is not None and serving.keep_alive and serving.left <= UNPARSED_BODY_BYTES:
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
        self._loop.call_later(LINGER_S, self._end_linger, transport)

    def _end_linger(self, transport: asyncio.Transport) -> None:
        if transport.get_write_buffer_size() and not self._patience.is_endless:
            # The answer is still on its way, and the time for writing sees to one that stalls.
            self._loop.call_later(LINGER_S, self._end_linger, transport)
        else:
            transport.abort()

    def _refuse(self, refused: RefusedError) -> None:
        """Answer what is not a proper request, and close: what follows it cannot be trusted."""
        serving, reader = self._serving, self._reader
        waits = self._pipeline is not None and self._pipeline.has_parsed
        if serving is not None and (waits or reader.between or not reader.is_reading(serving)):
            # What came before it is in order, and is answered first. Its traceback would keep all that was read.
            refused.__traceback__ = refused.__context__ = None
            self._wait_in_line(refused)
            self._update_reading()
            return
        if serving is not None and self._response_framed:
            # The answer of the request that it is part of is under way.
            self._lose_handler(ResetReason.PROTOCOL_ERROR)
            self.abort()
            return
        log.debug("a request is refused with %d: %s", refused.status, refused.detail)
        if self._handler is None and self._on_refused is not None:
            self._on_refused(refused.status)
        self._lose_handler(ResetReason.PROTOCOL_ERROR)
        if self._transport is None:
            return
        self._transport.write(refusal_bytes(refused))
        self._linger()

    # ── time ──

    def on_watch(self) -> None:
        """Look whether anything has moved since the last look."""
        waits_for = self._waits_for()
        if self._patience.is_over(waits_for) and waits_for is not None:
            self._on_timeout(waits_for[0])

    def _waits_for(self) -> tuple[Wait, object] | None:
        """What the peer is to do next, and how far it is with it; None: it is not its turn."""
        transport, serving = self._transport, self._serving
        if transport is None or self._tunnel is not None:
            return None
        if unsent := transport.get_write_buffer_size():
            return Wait.WRITE, unsent
        if self._closing:
            return None
        if serving is None:
            return (Wait.HEAD, self._reader.message) if self._reader.is_amid_head else (Wait.IDLE, None)
        if self._request_open and self._reading and not (self._response_framed and self._response_open):
            return Wait.BODY, serving
        return None

    def _on_timeout(self, wait: Wait) -> None:
        if wait is Wait.WRITE or (wait is Wait.BODY and not self._response_open):
            self.abort()
        elif wait is Wait.IDLE:
            self._close()
        else:
            what = "head" if wait is Wait.HEAD else "body"
            detail = f"no whole {what} of a request came within {self._patience.limit_s(wait):g} s"
            self._refuse(RefusedError(408, "request_timeout", detail))

    def _update_reading(self) -> None:
        transport, pipeline = self._transport, self._pipeline
        if transport is None or self._closing or self._tunnel is not None:
            return
        wanted = not self._handler_paused
        if pipeline is not None:
            if pipeline.is_empty:
                if not pipeline.is_moving:
                    self._pipeline = None
            elif pipeline.has_parsed:
                wanted = False
            elif wanted:
                # What has been read comes before what has not.
                self._loop.call_soon(self._read_on)
                return
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()
