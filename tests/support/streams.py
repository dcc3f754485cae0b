"""Connections that tests speak on by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def clients(port: int, count: int, opening: bytes) -> AsyncIterator[list[Streams]]:
    """Connections to 127.0.0.1:`port` that have all said `opening`; cut off in the end."""
    opened = [await asyncio.open_connection("127.0.0.1", port, limit=1024) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(opening)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


def cut(writer: asyncio.StreamWriter) -> None:
    """Close by RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
