"""The server side of HTTP/1.1: one connection of a downstream.

Its `ServerStream` is the request that is being answered. What is pipelined behind it waits in a `Pipeline`, for which
reading stops; how long the peer may take is for its `Patience` to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from remora.sidecar.wire.heads import Fields
from remora.sidecar.wire.http1.fields import UNPARSED_BODY_BYTES
from remora.sidecar.wire.http1.framing import refusal_bytes
from remora.sidecar.wire.http1.pipeline import Item, Pipeline
from remora.sidecar.wire.http1.reader import PIECE_BYTES, Message, RequestReader
from remora.sidecar.wire.http1.stream import ServerStream
from remora.sidecar.wire.http1.tunnel import ServerTunnel
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.patience import Patience, Wait
from remora.sidecar.wire.peer import peer_of
from remora.sidecar.wire.reads import LARGE_READ_BYTES, bound_reads
from remora.sidecar.wire.refused import RefusedError
from remora.sidecar.wire.stream import SOCKET_HIGH_WATER, RequestHandlerFactory, ResetReason
from remora.sidecar.wire.watch import Watch

log = logging.getLogger(__name__)

LINGER_S = 1.0
"""How long the rest of a request that was answered early is read and dropped, so that the peer sees the answer, not a
TCP reset (RFC 9112 §9.6). Only of a small rest the end is waited for, if the answer is no failure."""


class Http1ServerConnection(asyncio.Protocol):
    """One downstream connection."""

    __slots__ = (
        "_closing",
        "_factory",
        "_loop",
        "_on_closed",
        "_on_refused",
        "_patience",
        "_peer",
        "_pipeline",
        "_reader",
        "_reading",
        "_stream",
        "_tunnel",
        "is_draining",
        "transport",
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
        self._stream = ServerStream(self)
        self._pipeline: Pipeline | None = None
        """What waits behind the request that is served; None: nothing does."""
        self._tunnel: ServerTunnel | None = None
        """The tunnel that is asked for, or open; it is the transport's protocol then."""
        self._closing = False
        self._reading = True
        self._peer = ""
        self.transport: asyncio.Transport | None = None
        self.is_draining = False

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._peer = peer_of(self.transport)
        self.transport.set_write_buffer_limits(SOCKET_HIGH_WATER, 0)
        self._patience.begin(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._patience.heard = True
        try:
            if len(data) > PIECE_BYTES:
                if len(data) > LARGE_READ_BYTES and self.transport is not None:
                    bound_reads(self.transport, self)
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
            self.update_reading()

    def eof_received(self) -> bool:
        """A downstream that has said all may still be waiting for its answer: keep the writing side."""
        stream, pipeline = self._stream, self._pipeline
        if stream.message is None or stream.request_open or (pipeline is not None and not pipeline.is_empty):
            return False
        stream.message.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        self.transport = None
        self._patience.end(self)
        self._lose_stream(ResetReason.PEER_RESET if self._stream.request_open else ResetReason.CANCELLED)
        self._on_closed(self)

    def pause_writing(self) -> None:
        self._stream.on_writable(False)

    def resume_writing(self) -> None:
        self._stream.on_writable(True)

    # ── RequestSink ──

    def on_request(self, message: Message) -> None:
        if self._closing:
            return
        if self._stream.message is not None:
            if self._pipeline is not None and self._pipeline.is_full:
                raise RefusedError(400, "pipeline", "too many requests in one piece behind a chunked body")
            self._wait_in_line(message)
            self.update_reading()
        else:
            self._serve(message)

    def on_request_data(self, message: Message, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream.message is message:
            stream.deliver(data, end)
        elif not self._closing:
            self._wait_in_line(data)

    def on_request_end(self, message: Message, trailers: Fields | None) -> None:
        stream = self._stream
        if stream.message is message:
            stream.deliver_end(trailers)
        elif not self._closing:
            self._wait_in_line(trailers or [])

    def on_tunnel_data(self, message: Message, data: bytes) -> bool:
        tunnel = self._tunnel
        if self._closing:
            return True
        if self._stream.message is not message:
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

    # ── one request after the other ──

    def _serve(self, message: Message) -> None:
        stream = self._stream
        message.head.peer = self._peer
        stream.begin(message)
        if not message.end and message.head.asks_for_tunnel:
            self._serve_tunnel(message)
        else:
            stream.adopt(self._factory(stream, message.head, message.end), message)

    def _serve_tunnel(self, message: Message) -> None:
        stream, transport = self._stream, self.transport
        assert transport is not None, "requests are served while the connection lives"
        stream.request_open = False
        self._tunnel = tunnel = ServerTunnel(self, stream, message)
        tunnel.take_over(transport, reading=self._reading, writable=stream.is_writable)
        if self._pipeline is not None:
            behind = self._pipeline.take_bytes()
            self._pipeline = None
            if behind:
                tunnel.data_received(behind)
        tunnel.ask(self._factory)

    def on_tunnel_refused(self, held: bytes, *, reading: bool, ended: bool) -> None:
        """The answer will be no tunnel: go on as HTTP/1, with what came behind the request."""
        message, transport = self._stream.message, self.transport
        self._tunnel = None
        if message is None or transport is None:
            return
        transport.set_protocol(self)
        self._reading = reading
        if message.head.upgrade is None or ended:
            # Nobody can tell whether bytes behind a CONNECT were meant for the tunnel; behind an end there is nothing.
            message.keep_alive = False
            return
        if held:
            self._pipeline = Pipeline()
            self._pipeline.keep_unparsed(held, 0)
        self.update_reading()

    def on_answered_early(self, message: Message) -> None:
        """`message` has been answered before it has come whole: nobody waits for the rest of it."""
        if message.keep_alive and message.left <= UNPARSED_BODY_BYTES:
            self.update_reading()
        else:
            self._linger()

    def on_stream_end(self, message: Message) -> None:
        """`message` has come whole, and so has its answer gone."""
        self._reader.forget(message)
        pipeline = self._pipeline
        if not message.keep_alive or (self.is_draining and (pipeline is None or not pipeline.has_parsed)):
            self._close()
        elif pipeline is not None:
            if not pipeline.is_moving:
                self._serve_pipeline(pipeline)
        elif not self._reading:
            self.update_reading()

    def _serve_pipeline(self, pipeline: Pipeline) -> None:
        """Go on with what waits, as far as that can be."""
        stream = self._stream
        pipeline.is_moving = True
        while self._pipeline is pipeline and not self._closing:
            message = stream.message
            item = pipeline.next(is_answering=message is not None, is_reading=stream.request_open)
            if item is None:
                break
            if isinstance(item, RefusedError):
                self._refuse(item)
                break
            if isinstance(item, Message):
                self._serve(item)
            elif isinstance(item, list):
                stream.deliver_end(item)
            else:
                # With a known length the end is the last piece: nothing but the next message may follow it.
                complete = message is not None and message.left == 0
                stream.deliver(item, complete and pipeline.is_at_next_message)
        pipeline.is_moving = False
        self.update_reading()

    def _lose_stream(self, reason: ResetReason) -> None:
        self._pipeline = None
        self._stream.lose(reason)

    # ── ServerConnection ──

    @property
    def live_streams(self) -> int:
        return 0 if self._stream.message is None else 1

    def drain(self) -> None:
        self.is_draining = True
        if self._stream.message is None:
            self._close()

    def abort(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    # ── closing and flow ──

    def _close(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def _linger(self) -> None:
        self._closing = True
        transport = self.transport
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
        stream, reader = self._stream, self._reader
        message = stream.message
        waits = self._pipeline is not None and self._pipeline.has_parsed
        if message is not None and (waits or reader.between or reader.message is not message):
            # What came before it is in order, and is answered first. Its traceback would keep all that was read.
            refused.__traceback__ = refused.__context__ = None
            self._wait_in_line(refused)
            self.update_reading()
            return
        if message is not None and stream.answer_begun:
            # The answer of the request that it is part of is under way.
            self._lose_stream(ResetReason.PROTOCOL_ERROR)
            self.abort()
            return
        log.debug("a request is refused with %d: %s", refused.status, refused.detail)
        if stream.handler is None and self._on_refused is not None:
            self._on_refused(refused.status)
        self._lose_stream(ResetReason.PROTOCOL_ERROR)
        if self.transport is None:
            return
        self.transport.write(refusal_bytes(refused))
        self._linger()

    # ── time ──

    def on_watch(self) -> None:
        """Look whether anything has moved since the last look."""
        waits_for = self._waits_for()
        if self._patience.is_over(waits_for) and waits_for is not None:
            self._on_timeout(waits_for[0])

    def _waits_for(self) -> tuple[Wait, object] | None:
        """What the peer is to do next, and how far it is with it; None: it is not its turn."""
        transport, stream = self.transport, self._stream
        if transport is None or self._tunnel is not None:
            return None
        if unsent := transport.get_write_buffer_size():
            return Wait.WRITE, unsent
        if self._closing:
            return None
        message = stream.message
        if message is None:
            return (Wait.HEAD, self._reader.message) if self._reader.is_amid_head else (Wait.IDLE, None)
        if stream.request_open and self._reading and not (stream.answer_begun and stream.answer_open):
            return Wait.BODY, message
        return None

    def _on_timeout(self, wait: Wait) -> None:
        if wait is Wait.WRITE or (wait is Wait.BODY and not self._stream.answer_open):
            self.abort()
        elif wait is Wait.IDLE:
            self._close()
        else:
            what = "head" if wait is Wait.HEAD else "body"
            detail = f"no whole {what} of a request came within {self._patience.limit_s(wait):g} s"
            self._refuse(RefusedError(408, "request_timeout", detail))

    def update_reading(self) -> None:
        transport, pipeline = self.transport, self._pipeline
        if transport is None or self._closing or self._tunnel is not None:
            return
        wanted = not self._stream.is_paused
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
