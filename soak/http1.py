"""HTTP/1.1 clients: aiohttp where a usual client will do, raw sockets where it has to be unusual."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from random import Random

import aiohttp

from soak.app import ID_FIELD
from soak.ledger import BEFORE, REPLAYED_BYTES, SAFE, WITHIN, ClientFailure, WrongByteError
from soak.pattern import digest, pattern

SIZES = (0, 1, 200, 5_000, 5_000, 70_000, 300_000)
LARGE = (3_000_000,)
LARGE_SHARE = 0.01
EXPECTING_SHARE = 0.1
PIPELINED = 5
SLOW_STEPS = 12
SLOW_STEP_S = 0.05
TIMEOUT_S = 60.0


class Ask:
    """One request and its answer: random, but known to both ends."""

    _numbers = itertools.count()

    def __init__(self, rnd: Random, method: str = "", sizes: tuple[int, ...] = SIZES) -> None:
        if rnd.random() < LARGE_SHARE:
            sizes = LARGE
        self.id = f"h{next(self._numbers)}"
        self.seed = rnd.randrange(1 << 30)
        self.method = method or rnd.choice(("GET", "GET", "HEAD", "PUT", "POST", "POST"))
        self.body = pattern(self.seed, rnd.choice(sizes)) if self.method in ("PUT", "POST") else b""
        self.size = rnd.choice(sizes)
        self.framing = rnd.choice(("length", "chunked"))

    @property
    def target(self) -> str:
        return f"/echo?seed={self.seed + 1}&size={self.size}&framing={self.framing}"

    @property
    def answer(self) -> bytes:
        return b"" if self.method == "HEAD" else pattern(self.seed + 1, self.size)

    def failure(self, phase: str, what: str) -> ClientFailure:
        replayed = self.method in SAFE and len(self.body) <= REPLAYED_BYTES
        return ClientFailure(self.method, phase, what, replayed=replayed)

    def check_status(self, status: int, error: str) -> None:
        if status != 200:
            raise self.failure(BEFORE, f"{status} {error}".strip())

    def check(self, seen_digest: str, body: bytes) -> None:
        if seen_digest != digest(self.body):
            raise WrongByteError(f"{self.method} {self.target}: the app saw another body of {len(self.body)} bytes")
        if body != self.answer:
            raise WrongByteError(f"{self.method} {self.target}: {len(body)} bytes came, not those {len(self.answer)}")


async def pieces(rnd: Random, data: bytes) -> AsyncIterator[bytes]:
    """`data` in random pieces: a body of unknown length."""
    start = 0
    while start < len(data):
        size = rnd.choice((1, 100, 5_000, 40_000))
        yield data[start : start + size]
        start += size


class KeepAlive:
    """aiohttp with its pool. `close`: each request on a connection of its own."""

    def __init__(self, rnd: Random, port: int, *, close: bool = False) -> None:
        self._rnd = rnd
        self._url = f"http://127.0.0.1:{port}"
        connector = aiohttp.TCPConnector(force_close=close, limit=20)
        timeout = aiohttp.ClientTimeout(TIMEOUT_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def stop(self) -> None:
        await self._session.close()

    async def once(self) -> int:
        rnd = self._rnd
        ask = Ask(rnd)
        body = None if not ask.body else pieces(rnd, ask.body) if rnd.random() < 0.5 else ask.body
        expecting = body is not None and rnd.random() < EXPECTING_SHARE
        phase, fields = BEFORE, {ID_FIELD: ask.id}
        try:
            async with self._session.request(
                ask.method, self._url + ask.target, data=body, headers=fields, expect100=expecting
            ) as answer:
                ask.check_status(answer.status, answer.headers.get("x-mesh-error", ""))
                phase = WITHIN
                got = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ask.failure(phase, type(error).__name__) from error
        ask.check(answer.headers["x-digest"], got)
        return len(got) + len(ask.body)


class Raw:
    """A connection that the test speaks on itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def ask(self, ask: Ask, *fields: str) -> None:
        """The head of a request of known length."""
        length = [f"content-length: {len(ask.body)}"] if ask.method in ("PUT", "POST") else []
        lines = [f"{ask.method} {ask.target} HTTP/1.1", "host: soak", f"{ID_FIELD}: {ask.id}", *length, *fields]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def answer(self, ask: Ask, read_size: int = 65536, pause_s: float = 0.0) -> int:
        """Read and check the answer; the number of bytes of its body."""
        phase = BEFORE
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, fields = await self._head()
                ask.check_status(status, fields.get("x-mesh-error", ""))
                phase = WITHIN
                body = b"" if ask.method == "HEAD" else await self._body(fields, read_size, pause_s)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            raise ask.failure(phase, type(error).__name__) from error
        ask.check(fields["x-digest"], body)
        return len(body) + len(ask.body)

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        fields = (line.partition(":") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}

    async def _body(self, fields: dict[str, str], read_size: int, pause_s: float) -> bytes:
        if "content-length" in fields:
            return await self._exactly(int(fields["content-length"]), read_size, pause_s)
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body += await self._exactly(size, read_size, pause_s)
            await self.reader.readexactly(2)
        await self.reader.readuntil(b"\r\n")
        return body

    async def _exactly(self, size: int, read_size: int, pause_s: float) -> bytes:
        parts = []
        while size:
            part = await self.reader.readexactly(min(size, read_size))
            parts.append(part)
            size -= len(part)
            if pause_s:
                await asyncio.sleep(pause_s)
        return b"".join(parts)

    def abort(self) -> None:
        self.writer.transport.abort()


async def pipelined(rnd: Random, port: int) -> int:
    """Several requests in one write; the answers come in order."""
    connection = await Raw.open(port)
    try:
        asks = [Ask(rnd, "GET", SIZES[:5]) for _ in range(PIPELINED)]
        for ask in asks:
            connection.ask(ask)
        total = 0
        for ask in asks:
            # An answer that is cut off takes those behind it along; it is the one that is told.
            total += await connection.answer(ask)
        return total
    finally:
        connection.abort()


async def half_closed(rnd: Random, port: int) -> int:
    """A client that has said all, and says so by closing its half."""
    connection = await Raw.open(port)
    try:
        ask = Ask(rnd, rnd.choice(("GET", "POST")), SIZES[:5])
        connection.ask(ask)
        connection.writer.write(ask.body)
        connection.writer.write_eof()
        return await connection.answer(ask)
    finally:
        connection.abort()


async def slow_writer(rnd: Random, port: int) -> int:
    """A body of known length that comes in drops."""
    connection = await Raw.open(port)
    try:
        ask = Ask(rnd, "POST", (5_000,))
        connection.ask(ask)
        step = len(ask.body) // SLOW_STEPS + 1
        for start in range(0, len(ask.body), step):
            connection.writer.write(ask.body[start : start + step])
            await asyncio.sleep(SLOW_STEP_S)
        return await connection.answer(ask)
    finally:
        connection.abort()


async def slow_reader(rnd: Random, port: int) -> int:
    """A large answer that is taken slowly: backpressure all the way to the app."""
    connection = await Raw.open(port)
    try:
        ask = Ask(rnd, "GET", (1_500_000,))
        connection.ask(ask)
        return await connection.answer(ask, 100_000, SLOW_STEP_S)
    finally:
        connection.abort()


async def aborting(rnd: Random, port: int) -> int:
    """A client that resets its connection: in the head, in the request's body, or in the answer."""
    connection = await Raw.open(port)
    try:
        ask = Ask(rnd, "POST", (400_000,))
        match rnd.randrange(3):
            case 0:
                connection.writer.write(b"POST /echo HTTP/1.1\r\nhost: so")
                await connection.writer.drain()
            case 1:
                connection.ask(ask)
                connection.writer.write(ask.body[: len(ask.body) // 2])
                await connection.writer.drain()
            case _:
                connection.ask(ask)
                connection.writer.write(ask.body)
                await connection.reader.read(1000)
    except OSError:
        pass  # The other side was first.
    finally:
        connection.abort()
    return 0
