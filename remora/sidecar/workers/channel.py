"""Messages over a socket pair: each with its length in four bytes before it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 1024 * 1024
_LENGTH = 4


class Channel(asyncio.Protocol):
    """One end. `closed` is set when the other end is gone, or this one was closed."""

    def __init__(self, on_message: Callable[[bytes], None], on_writable: Callable[[], None] | None = None) -> None:
        """`on_writable` is called when the other end reads again after it did not."""
        self._on_message = on_message
        self._on_writable = on_writable
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self.writable = False
        """False: the other end does not keep up. What can wait should."""
        self.closed = asyncio.Event()

    @classmethod
    async def open(
        cls, end: socket.socket, on_message: Callable[[bytes], None], on_writable: Callable[[], None] | None = None
    ) -> Channel:
        """The channel over `end`, which is its own from now on."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_writable), sock=end)
        return channel

    def send(self, message: bytes) -> None:
        """Send a message of at most MAX_MESSAGE bytes; nothing happens when the other end is gone."""
        assert len(message) <= MAX_MESSAGE, "the sender checks what can grow"
        if self._transport is not None:
            self._transport.writelines((len(message).to_bytes(_LENGTH), message))

    def close(self) -> None:
        """Close when all is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.writable = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self.writable = False
        self.closed.set()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._on_writable is not None:
            self._on_writable()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(buffer[:_LENGTH])
            if end > _LENGTH + MAX_MESSAGE:
                log.error("A message of %d bytes between parent and worker: this end closes.", end - _LENGTH)
                self.abort()
                return
            if len(buffer) < end:
                return
            message = bytes(buffer[_LENGTH:end])
            del buffer[:end]
            self._on_message(message)
