"""How streams and their connection live and end (RFC 9113 §5.1, §5.4)."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Generic, TypeVar

from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.http2.errors import CODE_OF_REASON, ErrorCode, Http2ConnectionError, Http2StreamError
from remora.sidecar.wire.http2.limits import Http2Limits
from remora.sidecar.wire.http2.sender import FrameSender
from remora.sidecar.wire.http2.stream import NOBODY, Http2Stream
from remora.sidecar.wire.stream import ResetReason

MAX_RECENT_RESETS = 256
"""Streams that we reset and whose frames may still be on their way."""
LINGER_S = 1.0
"""How long a closing connection may take to deliver what was said last, and the peer to close its side."""

StreamT = TypeVar("StreamT", bound=Http2Stream)


class ConnectionLife(FrameSender, Generic[StreamT]):
    """The live streams of a connection, and every way in which they and it come to an end."""

    __slots__ = ("_head_timer", "_linger", "_recent_resets", "closed", "streams")

    def __init__(self, limits: Http2Limits) -> None:
        super().__init__(limits)
        self.streams: dict[int, StreamT] = {}
        self.closed = False
        """Nothing is read any more: failed, aborted, closing or lost."""
        self._recent_resets: dict[int, None] = {}
        self._linger: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def live_streams(self) -> int:
        return len(self.streams)

    def abort(self) -> None:
        """Close at once; live streams are reset."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()
        self._on_unusable()
        self._end_all(ResetReason.PEER_RESET)

    @abstractmethod
    def _on_stream_gone(self) -> None:
        """A stream has ended and left `streams`."""

    @abstractmethod
    def _on_unusable(self) -> None:
        """No new stream is possible; said before the live ones are reset. May be said again."""

    @abstractmethod
    def _on_lost(self) -> None: ...

    @abstractmethod
    def _count_reset(self) -> None:
        """A stream was ended by the peer's reset, or by ours for the peer's fault."""

    @abstractmethod
    def _last_stream_id_taken(self) -> int:
        """For GOAWAY."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed = True
        self.stop_waiting()
        if self._linger is not None:
            self._linger.cancel()
        self._on_unusable()
        self._end_all(ResetReason.PEER_RESET)
        self._on_lost()
        self.transport = None

    def wait_for_head(self) -> None:
        """What has begun, be it the connection, has to be whole in time, counted from its first bytes."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._on_slow_head)

    def stop_waiting(self) -> None:
        """It is whole."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_slow_head(self) -> None:
        if not self.closed:
            why = f"a header block, or the connection's start, was not whole within {self.limits.head_timeout_s:g} s"
            self._fail(Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, why))

    def forget(self, stream: Http2Stream) -> None:
        """Both halves have ended and all is sent."""
        if self.streams.pop(stream.stream_id, None) is not None:
            self._on_stream_gone()

    def reset_stream(self, stream: Http2Stream, reason: ResetReason) -> None:
        """Give a live stream up, for its handler."""
        if self.streams.get(stream.stream_id) is not stream:
            return
        if stream.send_ended and not stream.end_sent and self._may_reset_early():
            # All is said, and the rest of the peer's half is not wanted: go once the queue has gone.
            stream.abandoned = True
            stream.handler = NOBODY
            return
        code = ErrorCode.NO_ERROR if stream.end_sent and self._may_reset_early() else CODE_OF_REASON[reason]
        self._send_reset(stream.stream_id, code)
        del self.streams[stream.stream_id]
        self._blocked.pop(stream.stream_id, None)
        stream.die()
        self._on_stream_gone()

    def _may_reset_early(self) -> bool:
        """Only a server may end a stream before the peer's half with NO_ERROR (RFC 9113 §8.1)."""
        return False

    def _send_reset(self, stream_id: int, code: int) -> None:
        self._recent_resets[stream_id] = None
        if len(self._recent_resets) > MAX_RECENT_RESETS:
            del self._recent_resets[next(iter(self._recent_resets))]
        self.write(frames.rst_stream_frame(stream_id, code))

    def _fault_stream(self, stream_id: int, fault: Http2StreamError) -> None:
        self._send_reset(stream_id, fault.code)
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._end_stream(stream, ResetReason.PROTOCOL_ERROR)
        self._count_reset()

    def _end_stream(self, stream: StreamT, reason: ResetReason) -> None:
        """End a stream that has been taken out of `streams`, and say so."""
        self._blocked.pop(stream.stream_id, None)
        stream.die().on_reset(reason)
        self._on_stream_gone()

    def _end_all(self, reason: ResetReason) -> None:
        streams = list(self.streams.values())
        self.streams.clear()
        self._blocked.clear()
        for stream in streams:
            stream.die().on_reset(self._reason_for(stream, reason))

    def _reason_for(self, stream: StreamT, reason: ResetReason) -> ResetReason:  # noqa: ARG002
        return reason

    def _fail(self, fault: Http2ConnectionError) -> None:
        """The peer broke the protocol, or is too much: say so, and close."""
        self.write(frames.goaway_frame(self._last_stream_id_taken(), fault.code, str(fault)))
        self.close()
        self._end_all(ResetReason.PROTOCOL_ERROR)

    def close(self) -> None:
        """Close once the peer has, which has got all that is on its way by then, or after LINGER_S.

        Closed at once, with something unread, TCP would take back what the peer has not read yet (RFC 9112 §9.6).
        """
        if self.closed:
            return
        self.closed = True
        self._on_unusable()
        self._flush()
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._linger = self.loop.call_later(LINGER_S, transport.abort)
