"""One connection's bytes, both ways, as a stream.

Until it is opened what comes is held, and reading pauses; then bytes pass. Each direction ends by itself: a FIN from
the peer is an `end` for the handler, an `end` from the handler a FIN for the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Protocol, cast

from remora.sidecar.wire.reads import LARGE_READ_BYTES, bound_reads
from remora.sidecar.wire.stream import SOCKET_HIGH_WATER, ResetReason

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 s; closing then sends RST (socket(7))."""


LINGER_S = 30.0
"""How long a peer may take to read what is still to be sent when both directions have ended."""


class BytesHandler(Protocol):
    """What request and response handlers have in common: what a tunnel needs of them."""

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_reset(self, reason: ResetReason) -> None: ...

    def on_writable(self, writable: bool) -> None: ...


class RawStream(asyncio.Protocol):
    """The transport's protocol, and what a handler sends on."""

    __slots__ = (
        "_asked_to_pause",
        "_handler",
        "_held",
        "_read_ended",
        "_reading",
        "_transport",
        "_writable",
        "_write_ended",
        "is_open",
    )

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        """None: not connected, or lost."""
        self._handler: BytesHandler | None = None
        """None: not known yet, or it wants to hear no more."""
        self._held = b""
        """What came before the stream was opened."""
        self._read_ended = False
        self._write_ended = False
        self._reading = True
        self._asked_to_pause = False
        self._writable = True
        self.is_open = False

    def take_over(self, transport: asyncio.Transport, *, reading: bool, writable: bool) -> None:
        """Be the protocol of a `transport` that has had another, which leaves it reading and writable, or not."""
        self._transport = transport
        self._reading = reading
        self._writable = writable
        transport.set_protocol(self)

    def begin(self) -> None:
        """From now on bytes pass; what was held is delivered first."""
        handler = self._handler
        assert handler is not None, "a stream is opened for a handler"
        self.is_open = True
        if not self._writable:
            handler.on_writable(False)
        held, self._held = self._held, b""
        if held or self._read_ended:
            handler.on_data(held, self._read_ended)
        self._update_reading()

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(SOCKET_HIGH_WATER, 0)

    def data_received(self, data: bytes) -> None:
        if not self.is_open:
            self._held += data
            self._update_reading()
        elif self._handler is not None:
            if len(data) > LARGE_READ_BYTES and self._transport is not None:
                bound_reads(self._transport, self)
            self._handler.on_data(data, False)

    def eof_received(self) -> bool:
        self._read_ended = True
        if self.is_open and self._handler is not None:
            self._handler.on_data(b"", True)
        if self._write_ended and self._transport is not None:
            self._close(self._transport)
        return not self._write_ended

    @staticmethod
    def _close(transport: asyncio.Transport) -> None:
        """All is said; who does not read the last of it is not waited for without end."""
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        handler, self._handler = self._handler, None
        if handler is not None and not (self._read_ended and self._write_ended):
            handler.on_reset(ResetReason.PEER_RESET if self.is_open else ResetReason.REFUSED)

    def pause_writing(self) -> None:
        self._writable = False
        if self._handler is not None:
            self._handler.on_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._handler is not None:
            self._handler.on_writable(True)

    # ── what handlers send ──

    def send_data(self, data: bytes, end: bool) -> None:
        transport = self._transport
        if transport is None or self._write_ended:
            return
        if data:
            transport.write(data)
        if not end:
            return
        self._write_ended = True
        if self._read_ended:
            self._handler = None
            self._close(transport)
        elif transport.can_write_eof():
            transport.write_eof()

    def reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        """End it so that the peer sees that something is missing."""
        transport, self._handler = self._transport, None
        if transport is None or (self._read_ended and self._write_ended):
            return
        self._write_ended = True
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def pause(self) -> None:
        self._asked_to_pause = True
        self._update_reading()

    def resume(self) -> None:
        self._asked_to_pause = False
        self._update_reading()

    def _update_reading(self) -> None:
        transport = self._transport
        wanted = not self._asked_to_pause and (self.is_open or not self._held)
        if transport is None or wanted == self._reading or self._read_ended:
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()
