"""Reads of bounded size, for connections whose peers send much at once.

What a slow reader has not taken is held as whole reads, so the size of a read is what it costs. uvloop's is 256,000
bytes. A buffer of our own makes it smaller, but costs each read two calls more: only those pay whose reads are large.
"""

from __future__ import annotations

import asyncio

LARGE_READ_BYTES = 64 * 1024
"""A read of more than this shows that the peer is fast."""

READ_BYTES = 128 * 1024
"""The largest read from then on."""

# One for all connections of a process: loops fill it and hand it over in one step.
_BUFFER = memoryview(bytearray(READ_BYTES))


class BoundedReads(asyncio.BufferedProtocol):
    """Stands before `protocol` as its transport's protocol."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def bound_reads(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    """Let no later read of `transport`, which is `protocol`'s, be over READ_BYTES."""
    if transport.get_protocol() is protocol:
        transport.set_protocol(BoundedReads(protocol))
