"""Who does not read, behind who writes as fast as it can: what that costs each of two sidecars in a row."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.support.backend import running_raw_server
from tests.support.memory import memory_of
from tests.support.mesh import running_row
from tests.support.streams import clients

DEADLINE_S = 60
CONNECTIONS = 40
PER_CONNECTION_BYTES = 256 * 1024
LARGE = 1 << 30
PIECE = bytes(256 * 1024)
QUIET_LOOKS = 10
"""So often in a row nobody could send any more: all is full."""

HEADS: dict[str, tuple[bytes, bytes]] = {
    "known length": (b"GET / HTTP/1.1\r\nHost: app\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE),
    "chunked": (
        b"GET / HTTP/1.1\r\nHost: app\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % LARGE,
    ),
    "upgrade": (
        b"GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
    ),
    "upload": (b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n" % LARGE, b""),
    "tcp": (b"", b""),
}


class Poured:
    """Bytes that went in, on all connections."""

    def __init__(self) -> None:
        self.total = 0

    async def into(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(PIECE)
                await writer.drain()
                self.total += len(PIECE)

    async def until_full(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            before, quiet = -1, 0
            while quiet < QUIET_LOOKS:
                quiet = quiet + 1 if self.total == before > 0 else 0
                before = self.total
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("what", "way", "between"),
    [
        ("known length", "down", "http1"),
        ("known length", "down", "h2"),
        ("chunked", "down", "http1"),
        ("upload", "up", "http1"),
        ("upload", "up", "h2"),
        ("upgrade", "down", "http1"),
        ("upgrade", "down", "h2"),
        ("tcp", "down", "tcp"),
        ("tcp", "up", "tcp"),
    ],
)
async def test_a_slow_reader_costs_less_than_256_kib(tmp_path: Path, what: str, way: str, between: str) -> None:
    """All buffers of the kernel are full first: what is weighed is the processes."""
    opening, answer = HEADS[what]
    poured = Poured()
    gone = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if opening:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if way == "down":
            await poured.into(writer)
        else:
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            await gone.wait()
            writer.transport.abort()

    async def load(port: int, count: int) -> None:
        async with clients(port, count, opening) as opened:
            pouring = [asyncio.create_task(poured.into(writer)) for _, writer in opened] if way == "up" else []
            if way == "down":
                for reader, _ in opened:
                    reader._transport.pause_reading()  # type: ignore[attr-defined]
            await poured.until_full()
            for task in pouring:
                task.cancel()

    protocol = "tcp" if between == "tcp" else "http1"
    async with running_raw_server(converse) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, protocol, between=between) as row:
            # What is loaded, and allocated, at first use is no growth.
            await load(row.port, 2)
            poured.total = 0
            async with memory_of(row.caller) as caller, memory_of(row.callee) as callee:
                await load(row.port, CONNECTIONS)
            gone.set()
    growth = {"caller": caller.growth // CONNECTIONS, "callee": callee.growth // CONNECTIONS}
    assert max(growth.values()) < PER_CONNECTION_BYTES, growth
