"""The client's end: we ask upstreams here (RFC 9113)."""

from __future__ import annotations

import asyncio

from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.http2.blocks import request_block, tunnel_block
from remora.sidecar.wire.http2.connection import Http2Connection
from remora.sidecar.wire.http2.errors import ErrorCode, Http2ConnectionError, Http2StreamError
from remora.sidecar.wire.http2.limits import DEFAULT_LIMITS, Http2Limits
from remora.sidecar.wire.http2.liveness import Liveness
from remora.sidecar.wire.http2.stream import AWAITING_HEAD, LENGTH_UNKNOWN, Http2Stream
from remora.sidecar.wire.http2.tunnels import TunnelAnswer, TunnelRequest
from remora.sidecar.wire.stream import ConnectionOwner, ResetReason, ResponseHandler, ResponseStream

LIVENESS_PING = b"liveness"


def _body_length(stream: ClientStream, head: ResponseHead) -> int:
    """How much data may follow a final head (RFC 9110 §6.4.1)."""
    if stream.asks_for_tunnel and head.status < 300:
        return LENGTH_UNKNOWN
    if stream.bodiless or head.status == 204 or head.status == 304:
        return 0
    return LENGTH_UNKNOWN if head.content_length is None else head.content_length


class ClientStream(Http2Stream):
    """A ResponseStream."""

    __slots__ = ("asks_for_tunnel", "bodiless", "head_handler")

    def __init__(
        self, connection: Http2ClientConnection, stream_id: int, handler: ResponseHandler, method: bytes
    ) -> None:
        super().__init__(connection, stream_id, connection.initial_window, False)
        self.handler = handler
        self.left = AWAITING_HEAD
        self.head_handler: ResponseHandler | None = handler
        """None once the final head has come."""
        self.bodiless = method == b"HEAD"
        """The answer has no body, whatever its content-length says."""
        self.asks_for_tunnel = False


class Http2ClientConnection(Http2Connection[ClientStream]):
    """One connection to an endpoint; `owner` is the pool that it belongs to. A ClientConnection.

    Usable as soon as `create_connection` returns it, for `expected_streams`, until the peer has said how many it takes:
    what is asked beyond that would be refused.
    """

    __slots__ = (
        "_last_flushed_id",
        "_liveness",
        "_max_streams",
        "_next_id",
        "_owner",
        "_settings_seen",
        "_takes_switches",
        "_tunnels",
        "_usable",
    )

    def __init__(
        self, owner: ConnectionOwner, *, limits: Http2Limits = DEFAULT_LIMITS, expected_streams: int = 1
    ) -> None:
        super().__init__(limits)
        self._owner = owner
        self._liveness = Liveness(limits)
        self._tunnels: list[TunnelRequest] = []
        """That wait for the peer's word on extended CONNECT."""
        self._takes_switches = False
        self._next_id = 1
        self._last_flushed_id = 0
        """Streams above it have not left this process."""
        self._max_streams = expected_streams
        self._settings_seen = False
        """Whether the peer has said how many streams it takes."""
        self._usable = True
        """New streams are welcome; owner.on_connection_closed says when no more."""

    @property
    def free_slots(self) -> int:
        if not self._usable or self.transport is None:
            return 0
        free = self._max_streams - len(self.streams) - len(self._tunnels)
        return free if free > 0 else 0

    @property
    def streams_opened(self) -> int:
        return self._next_id >> 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._liveness.start(self.loop, self)

    def open(self, head: RequestHead, end: bool, handler: ResponseHandler) -> ResponseStream:
        """Start a stream and send its head. Only when `free_slots` > 0. Never calls the handler before it returns."""
        upgrade = head.upgrade
        if upgrade is None:
            block = request_block(head)
        elif self._takes_switches:
            block = tunnel_block(head, upgrade)
        else:
            return self._open_later(head, handler)
        stream_id = self._next_id
        self._next_id = stream_id + 2
        stream = ClientStream(self, stream_id, handler, head.method)
        self.streams[stream_id] = stream
        self.write_headers(stream_id, block, end)
        if end:
            stream.send_ended = stream.end_sent = True
        elif upgrade is not None or head.method == b"CONNECT":
            stream.asks_for_tunnel = True
            stream.head_handler = TunnelAnswer(head, handler)
        if stream_id + 2 > frames.MAX_STREAM_ID:
            # Out of numbers (RFC 9113 §5.1.1).
            self.drain()
        return stream

    def _open_later(self, head: RequestHead, handler: ResponseHandler) -> ResponseStream:
        """An extended CONNECT waits until the peer has said that it takes them (RFC 8441 §3), or that it does not."""
        request = TunnelRequest(head, handler, self._open_if_free)
        self._tunnels.append(request)
        if self._settings_seen:
            self.loop.call_soon(self._decide_tunnels)
        return request

    def _open_if_free(self, head: RequestHead, handler: ResponseHandler) -> ResponseStream | None:
        return self.open(head, False, handler) if self.free_slots else None

    def _decide_tunnels(self) -> None:
        waiting, self._tunnels = self._tunnels, []
        for request in waiting:
            request.decide(self._takes_switches)

    def send_ping(self) -> None:
        """Ask whether the peer lives."""
        self.write(frames.ping_frame(LIVENESS_PING, 0))

    def drain(self) -> None:
        """Take no new stream; close when the live ones have ended."""
        self._on_unusable()
        if not self.streams:
            self._close_politely()

    def _close_politely(self) -> None:
        if not self.closed and self.transport is not None:
            self.write(frames.goaway_frame(0, ErrorCode.NO_ERROR, ""))
        self.close()

    def _write_out(self) -> None:
        self._last_flushed_id = self._next_id - 2
        super()._write_out()

    def _opening(self) -> bytes:
        limits = self.limits
        return (
            frames.PREFACE
            + frames.settings_frame(
                {
                    frames.ENABLE_PUSH: 0,
                    frames.INITIAL_WINDOW_SIZE: limits.stream_window,
                    frames.MAX_HEADER_LIST_SIZE: limits.request.head_bytes,
                }
            )
            + frames.window_update_frame(0, limits.connection_window - frames.DEFAULT_WINDOW)
        )

    def _preface(self) -> bytes:
        return b""

    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            self.reader.skip(block)
            self._on_stray(stream_id)
        elif stream.head_handler is None:
            self._on_trailers(stream, block, end)
        else:
            self._on_response(stream, stream.head_handler, block, end)

    def _on_response(self, stream: ClientStream, handler: ResponseHandler, block: bytes, end: bool) -> None:
        head = self.reader.response(block)
        if head.status < 200:
            if end:
                raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "an informational response ends the stream")
            self._count_control()
            handler.on_head(head, False)
            return
        stream.head_handler = None
        stream.left = _body_length(stream, head)
        self._guard.progress = True
        if not end:
            handler.on_head(head, False)
            return
        if stream.left > 0:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR, "a content-length, but no body")
        gone = self._end_receiving(stream)
        handler.on_head(head, True)
        if gone:
            self._on_stream_gone()

    def _on_goaway(self, last_stream_id: int, code: int) -> None:  # noqa: ARG002
        """Streams above the last one were not and will not be processed (RFC 9113 §6.8)."""
        self._count_control()
        self._on_unusable()
        for stream_id in [number for number in self.streams if number > last_stream_id]:
            stream = self.streams.pop(stream_id, None)
            if stream is not None:
                self._end_stream(stream, ResetReason.STALE)
        if not self.streams:
            self._close_politely()

    def _on_setting(self, key: int, value: int) -> None:
        if key == frames.MAX_CONCURRENT_STREAMS:
            self._max_streams = value
        elif key == frames.ENABLE_PUSH and value:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a server cannot ask for push")
        elif key == frames.ENABLE_CONNECT_PROTOCOL:
            self._takes_switches = value == 1

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            super()._on_settings(flags, payload)
            return
        was_full, before = not self.free_slots, self._max_streams
        is_first = not self._settings_seen
        if is_first:
            # No word of a limit in the first SETTINGS means that there is none.
            self._settings_seen = True
            self._max_streams = frames.MAX_STREAM_ID
        super()._on_settings(flags, payload)
        self._decide_tunnels()
        if was_full and self.free_slots:
            self._owner.on_connection_free(self)
        if is_first or self._max_streams < before:
            # That it takes more here says nothing of a connection that is still to come.
            self._owner.on_max_streams(self._max_streams)

    def _on_ping_ack(self, payload: bytes) -> None:
        """That something came is all that is asked."""

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_id or not stream_id & 1

    def _on_stream_gone(self) -> None:
        if self._usable:
            if self._max_streams > len(self.streams):
                self._owner.on_connection_free(self)
        elif not self.streams:
            self._close_politely()

    def _on_unusable(self) -> None:
        if self._usable:
            self._usable = False
            self._owner.on_connection_closed(self)
            waiting, self._tunnels = self._tunnels, []
            for request in waiting:
                request.fail(ResetReason.STALE)

    def _on_lost(self) -> None:
        self._liveness.stop()

    def _reason_for(self, stream: ClientStream, reason: ResetReason) -> ResetReason:
        return ResetReason.STALE if stream.stream_id > self._last_flushed_id else reason

    def _count_reset(self) -> None:
        """Each costs a request that we have made ourselves: no flood."""

    def _last_stream_id_taken(self) -> int:
        return 0
