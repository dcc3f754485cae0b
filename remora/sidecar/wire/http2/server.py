"""The server's end: downstreams ask here (RFC 9113)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.http2.blocks import response_block
from remora.sidecar.wire.http2.connection import Http2Connection
from remora.sidecar.wire.http2.errors import ErrorCode, Http2ConnectionError, Http2StreamError
from remora.sidecar.wire.http2.limits import DEFAULT_LIMITS, Http2Limits
from remora.sidecar.wire.http2.stream import NOBODY, NOT_SILENT, Http2Stream
from remora.sidecar.wire.http2.tunnels import answer_to_peer, request_to_handlers
from remora.sidecar.wire.patience import Patience, Wait
from remora.sidecar.wire.peer import peer_of
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.refused import RefusedError
from remora.sidecar.wire.stream import RequestHandlerFactory, ResetReason
from remora.sidecar.wire.watch import Watch

DRAIN_PING = b"draining"


class ServerStream(Http2Stream):
    """A RequestStream."""

    __slots__ = ("_head", "_head_sent")

    def __init__(self, connection: Http2ServerConnection, stream_id: int, recv_ended: bool, head: RequestHead) -> None:
        super().__init__(connection, stream_id, connection.initial_window, recv_ended)
        self._head = head
        self._head_sent = False

    @property
    def waits_for_body(self) -> bool:
        """Whether it is the downstream's turn, which is to send more of a body. Who asks for a tunnel waits for the
        answer; calls of gRPC are let alone: their silence means nothing, and the exchange bounds it."""
        if self.recv_ended or self.paused or self._head_sent or self.send_ended:
            return False
        content_type = self._head.content_type
        return not self._head.asks_for_tunnel and (
            content_type is None or not content_type.startswith(b"application/grpc")
        )

    def look(self) -> int:
        """Look whether its body goes on coming; how often that has found silence after the first time."""
        self.silent_looks = self.silent_looks + 1 if self.waits_for_body else NOT_SILENT
        return self.silent_looks

    def send_head(self, head: ResponseHead, end: bool) -> None:
        """Send a response head; a second final one is dropped."""
        if self.send_ended or self._head_sent or head.status == 101:
            # 101 to who has not asked for a switch: HTTP/2 has no such status.
            return
        self._head_sent = head.status >= 200
        self.send_ended = end
        self.connection.write_headers(self.stream_id, response_block(head), end)
        if end:
            self._on_end_sent()


class SwitchStream(ServerStream):
    """The stream of an extended CONNECT, which is an Upgrade to handlers."""

    __slots__ = ()

    def send_head(self, head: ResponseHead, end: bool) -> None:
        super().send_head(answer_to_peer(head), end)


class Http2ServerConnection(Http2Connection[ServerStream]):
    """One downstream's connection, in cleartext with prior knowledge or behind whatever the transport is.

    `factory` makes the handler of each request. `on_closed` is called once, when the connection is gone. `on_refused`
    hears the status of a request that no handler has seen; 400 for one that is malformed. `watch` keeps the idle time
    of `limits.request`: a connection that has had no stream for so long is drained, whatever it pings.
    Give it to `create_server`, or hand it a connection whose first bytes have been read: see `attach`.
    """

    __slots__ = (
        "_drain_timer",
        "_draining",
        "_factory",
        "_goaway_id",
        "_last_stream_id",
        "_on_closed",
        "_on_refused",
        "_patience",
        "_peer",
    )

    def __init__(
        self,
        factory: RequestHandlerFactory,
        *,
        limits: Http2Limits = DEFAULT_LIMITS,
        on_closed: Callable[[Http2ServerConnection], None] | None = None,
        on_refused: Callable[[int], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(limits)
        self._patience = Patience(limits.request, watch)
        self._factory = factory
        self._on_closed = on_closed
        self._on_refused = on_refused
        self._last_stream_id = 0
        self._peer = ""
        self._goaway_id = frames.MAX_STREAM_ID
        """The last stream that we take, as our GOAWAY said."""
        self._draining = False
        self._drain_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._peer = peer_of(transport)
        self.wait_for_head()
        self._patience.begin(self)

    def attach(self, transport: asyncio.Transport, first_bytes: bytes) -> None:
        """Take over a transport from a protocol that has read `first_bytes` of it, preface included."""
        transport.set_protocol(self)
        self.connection_made(transport)
        if first_bytes:
            self.data_received(first_bytes)

    def drain(self) -> None:
        """Two-phase GOAWAY (RFC 9113 §6.8): warn, wait for a round trip, say which stream was the last, finish them."""
        if self._draining or self.closed or self.transport is None:
            return
        self._draining = True
        self.write(frames.goaway_frame(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR, "draining"))
        self.write(frames.ping_frame(DRAIN_PING, 0))
        self._drain_timer = self.loop.call_later(self.limits.drain_wait_s, self._finish_drain)

    def on_watch(self) -> None:
        """Look whether bodies still come, and whether there was a stream since the last look."""
        for stream in tuple(self.streams.values()):
            if self._patience.has_lasted(Wait.BODY, stream.look()):
                self._give_up(stream)
        if self._patience.is_over(None if self.streams else (Wait.IDLE, self._last_stream_id)):
            self.drain()

    def _finish_drain(self) -> None:
        if self.closed or self._goaway_id != frames.MAX_STREAM_ID:
            return
        self._goaway_id = self._last_stream_id
        self.write(frames.goaway_frame(self._last_stream_id, ErrorCode.NO_ERROR, "draining"))
        self._on_stream_gone()

    def _opening(self) -> bytes:
        limits = self.limits
        return frames.settings_frame(
            {
                frames.MAX_CONCURRENT_STREAMS: limits.max_streams,
                frames.INITIAL_WINDOW_SIZE: limits.stream_window,
                frames.MAX_HEADER_LIST_SIZE: limits.request.head_bytes,
                frames.ENABLE_CONNECT_PROTOCOL: 1,
            }
        ) + frames.window_update_frame(0, limits.connection_window - frames.DEFAULT_WINDOW)

    def _preface(self) -> bytes:
        return frames.PREFACE

    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, block, end)
        elif stream_id > self._last_stream_id:
            self._on_request(stream_id, block, end)
        else:
            self.reader.skip(block)
            self._on_stray(stream_id)

    def _on_request(self, stream_id: int, block: bytes, end: bool) -> None:
        if not stream_id & 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a client's stream has an even number")
        self._last_stream_id = stream_id
        if len(self.streams) >= self.limits.max_streams or stream_id > self._goaway_id:
            self.reader.skip(block)
            raise Http2StreamError(ErrorCode.REFUSED_STREAM, "no more streams")
        try:
            head = self.reader.request(block)
        except RefusedError as refused:
            self._refused(refused.status)
            self._answer(stream_id, refused, end)
            return
        except Http2StreamError:
            self._refused(400)
            raise
        if head.upgrade is None:
            stream = ServerStream(self, stream_id, end, head)
        else:
            stream = SwitchStream(self, stream_id, end, head)
            request_to_handlers(head)
        if head.content_length is not None:
            stream.left = head.content_length
            if end and stream.left:
                self._refused(400)
                raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "a content-length, but no body")
        self._guard.progress = True
        self.streams[stream_id] = stream
        head.peer = self._peer
        handler = self._factory(stream, head, end)
        if self.streams.get(stream_id) is stream and not stream.abandoned:
            stream.handler = handler
            if not stream.writable and not stream.send_ended:
                handler.on_writable(False)

    def _refused(self, status: int) -> None:
        if self._on_refused is not None:
            self._on_refused(status)

    def _answer(self, stream_id: int, refused: RefusedError, end: bool) -> None:
        """Answer a request that no handler will see, and be done with it."""
        head, _ = refused.answer()
        # Without its body: the method, which may be HEAD, is in a head that was not read to its end.
        head.content_length = 0
        self.write_headers(stream_id, response_block(head), True)
        if not end:
            self._send_reset(stream_id, ErrorCode.NO_ERROR)

    def _give_up(self, stream: ServerStream) -> None:
        """Its body has stopped coming."""
        limit_s = self._patience.limit_s(Wait.BODY)
        handler, stream.handler = stream.handler, NOBODY
        handler.on_reset(ResetReason.PROTOCOL_ERROR)
        head, body = problem(408, "request_timeout", f"no more of the request's body came within {limit_s:g} s")
        stream.send_head(head, False)
        stream.send_data(body, True)
        self.reset_stream(stream, ResetReason.CANCELLED)

    def _on_goaway(self, last_stream_id: int, code: int) -> None:  # noqa: ARG002
        """The client opens no more streams. It closes, or we do when we have been told to."""
        self._count_control()

    def _count_reset(self) -> None:
        self._guard.on_reset(self.loop.time(), (self._last_stream_id + 1) >> 1)

    def _on_setting(self, key: int, value: int) -> None:
        """Table size, push, concurrency and list size of a client bind nothing that we send."""

    def _on_ping_ack(self, payload: bytes) -> None:
        if self._draining and payload == DRAIN_PING:
            self._finish_drain()

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self._last_stream_id or not stream_id & 1

    def _on_stream_gone(self) -> None:
        if self._draining and not self.streams and self._goaway_id != frames.MAX_STREAM_ID:
            self.close()

    def _on_unusable(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()

    def _on_lost(self) -> None:
        self._patience.end(self)
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)

    def _last_stream_id_taken(self) -> int:
        return self._last_stream_id

    def _may_reset_early(self) -> bool:
        return True
