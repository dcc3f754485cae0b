"""Bytes that no sidecar reads: to a port of their own, by CONNECT, and behind a ClientHello that names the service.

Both directions at once, each ended by a half-close: the app's answer ends with the digest of all that it got.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

from soak.app import BYTES_ASKED
from soak.http1 import pieces
from soak.ledger import BEFORE, TCP, WITHIN, ClientFailure, WrongByteError
from soak.pattern import digest, pattern
from tests.support.tls import client_hello

SIZES = (0, 1, 200, 5_000, 70_000, 1_000_000)
ABORTED_SHARE = 0.1
SLOW_SHARE = 0.1
SLOW_STEP_S = 0.01
TIMEOUT_S = 60.0
CONNECT = f"CONNECT {TCP}:443 HTTP/1.1\r\nhost: {TCP}:443\r\n\r\n".encode()

_HELLO = client_hello(TCP)

Client = Callable[[Random, int], Awaitable[int]]


async def opaque(rnd: Random, port: int) -> int:
    """`port` stands for the service."""
    return await _conversation(rnd, port)


async def by_connect(rnd: Random, proxy: int) -> int:
    """Through a tunnel that is asked for at the sidecar's own outbound port."""
    return await _conversation(rnd, proxy, asked=CONNECT)


async def by_server_name(rnd: Random, proxy: int) -> int:
    """The sidecar sees TLS, and whom it is for."""
    return await _conversation(rnd, proxy, hello=_HELLO)


async def _conversation(rnd: Random, port: int, *, asked: bytes = b"", hello: bytes = b"") -> int:
    phase = BEFORE
    try:
        async with asyncio.timeout(TIMEOUT_S), _connected(port) as (reader, writer):
            if asked:
                await _open_tunnel(reader, writer, asked)
            phase = WITHIN
            return await _converse(rnd, reader, writer, hello)
    except (OSError, EOFError, TimeoutError) as error:
        # A sidecar that is told `tcp` connects at once, so that a connection may be reset while it is being made.
        raise ClientFailure(TCP, phase, type(error).__name__) from error


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _open_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> None:
    writer.write(asked)
    status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    if status.split()[1] != "200":
        error = next((line.partition(": ")[2] for line in fields if line.startswith("x-mesh-error:")), "")
        raise ClientFailure("CONNECT", BEFORE, f"{status.split()[1]} {error}".strip())


async def _converse(rnd: Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: bytes) -> int:
    seed, size = rnd.randrange(1 << 30), rnd.choice(SIZES)
    upload = hello + BYTES_ASKED.pack(seed, size) + pattern(seed + 1, rnd.choice(SIZES))
    if rnd.random() < ABORTED_SHARE:
        writer.write(upload[: rnd.randrange(len(upload))])
        return 0
    pause_s = SLOW_STEP_S if rnd.random() < SLOW_SHARE else 0.0
    sending = asyncio.create_task(_send(rnd, writer, upload))
    try:
        answer = await _exactly(reader, size + len(digest(b"")), pause_s)
        await sending
    finally:
        sending.cancel()
        # What has become of it shows in the answer.
        await asyncio.wait((sending,))
    if answer != pattern(seed, size) + digest(upload).encode():
        begun = f"it begins {bytes(answer[:40])!r}"
        raise WrongByteError(f"{len(upload)} bytes there, {size} and a digest back: not those that were sent; {begun}")
    if await reader.read(1):
        raise WrongByteError("more came than was sent")
    return len(upload) + len(answer)


async def _send(rnd: Random, writer: asyncio.StreamWriter, data: bytes) -> None:
    async for piece in pieces(rnd, data):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def _exactly(reader: asyncio.StreamReader, size: int, pause_s: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        data = await reader.read(min(65536, size - len(found)))
        if not data:
            raise asyncio.IncompleteReadError(bytes(found), size)
        found += data
        if pause_s:
            await asyncio.sleep(pause_s)
    return bytes(found)
