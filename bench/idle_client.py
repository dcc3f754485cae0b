"""A client that holds idle connections: `python -m bench.idle_client PORT PATH http1|h2`, led by lines on stdin.

`hold N`: have N connections in all, each of which has had one answer; prints `held N FAILED`.
`check`: send one more request on each; prints `alive N LOST`.

So a proxy cannot pass by accepting alone: every connection has gone through its protocol's start and a whole exchange,
and is asked again after it was idle.
"""

from __future__ import annotations

import abc
import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, cast

import uvloop

from bench.processes import HOST

AT_ONCE = 100
"""Connections that are opened or asked at a time: below every proxy's cap of upstream connections."""
ANSWER_TIMEOUT_S = 10.0
A_SOURCE_ADDRESS = 5000
"""Connections from one source address: a port may then still be in use elsewhere, and no range of ports runs out."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Choose the source port on connect(), when it need only be unique for the destination (Linux, ip(7))."""

_H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_STATUS_200 = b"\x88"
_SETTINGS_ACK = b"\0\0\0\x04\x01\0\0\0\0"


class IdleConnection(asyncio.Protocol, abc.ABC):
    """One connection, of either protocol; `ask` sends its request and tells whether the answer was 200."""

    __slots__ = ("_answer", "_buffer", "_transport")

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._buffer = b""

    async def ask(self) -> bool:
        """False for another status, a closed connection, or none within ANSWER_TIMEOUT_S."""
        if self._transport is None:
            return False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._request())
        try:
            return await asyncio.wait_for(self._answer, ANSWER_TIMEOUT_S)
        except TimeoutError:
            return False
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._answered(False)

    def _answered(self, good: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(good)

    @abc.abstractmethod
    def _request(self) -> bytes:
        """The bytes of the next request."""


class Http1Connection(IdleConnection):
    """HTTP/1.1; answers have a content-length."""

    __slots__ = ("_bytes",)

    def __init__(self, path: str) -> None:
        super().__init__()
        self._bytes = f"GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()

    def _request(self) -> bytes:
        return self._bytes

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        _, found, rest = head.lower().partition(b"content-length:")
        if not found or len(body) >= int(rest.partition(b"\r\n")[0]):
            self._buffer = b""
            self._answered(bool(found) and head.startswith(b"HTTP/1.1 200"))


class H2Connection(IdleConnection):
    """HTTP/2 without a table of its own: it knows status 200 by the static table (RFC 7541 appendix A)."""

    __slots__ = ("_good", "_path", "_stream_id")

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path.encode()
        self._stream_id = -1
        self._good = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).write(_H2_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def _request(self) -> bytes:
        self._stream_id += 2
        self._good = False
        # POST, http, and literals that enter no table: what gRPC sends, without a message.
        block = b"\x83\x86" + _literal(b"\x01", b"bench") + _literal(b"\x04", self._path)
        block += _literal(b"\x0f\x10", b"application/grpc") + _literal(b"\0\x02te", b"trailers")
        return _frame(_HEADERS, _END_STREAM | _END_HEADERS, self._stream_id, block)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 9:
            high, low, kind, flags, stream_id = struct.unpack(">BHBBI", self._buffer[:9])
            end = 9 + (high << 16 | low)
            if len(self._buffer) < end:
                return
            payload, self._buffer = self._buffer[9:end], self._buffer[end:]
            self._on_frame(kind, flags, stream_id, payload)

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING):
            if self._transport is not None and not flags & _ACK:
                answer = _SETTINGS_ACK if kind == _SETTINGS else _frame(_PING, _ACK, 0, payload)
                self._transport.write(answer)
        elif kind in (_RST_STREAM, _GOAWAY):
            self._answered(False)
        elif kind in (_DATA, _HEADERS) and stream_id == self._stream_id:
            self._good = self._good or (kind == _HEADERS and _says_200(payload))
            if flags & _END_STREAM:
                self._answered(self._good)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">BHBBI", 0, len(payload), kind, flags, stream_id) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that enters no table (RFC 7541 §6.2.2), of under 127 bytes; `name` is coded already."""
    return name + bytes((len(value),)) + value


def _says_200(block: bytes) -> bool:
    """Whether a header block begins with status 200 from the static table, maybe after updates of the table's size."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        more = block[at] == 0x3F
        at += 1
        while more and at < len(block):
            more = block[at] >= 0x80
            at += 1
    return block.startswith(_STATUS_200, at)


class Holder:
    """Opens connections to `port`, each by `make`, and keeps them."""

    def __init__(self, port: int, make: Callable[[], IdleConnection]) -> None:
        self._port = port
        self._make = make
        self._connections: list[IdleConnection] = []

    @property
    def count(self) -> int:
        return len(self._connections)

    async def hold(self, count: int) -> int:
        """Have `count` connections in all; gives how many of the new ones had no good answer."""
        return await _count_false(self._open, range(len(self._connections), count))

    async def check(self) -> int:
        """Ask on every connection; gives how many had no good answer."""
        return await _count_false(IdleConnection.ask, self._connections)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _open(self, number: int) -> bool:
        loop = asyncio.get_running_loop()
        connection = self._make()
        self._connections.append(connection)
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{2 + number // A_SOURCE_ADDRESS}", 0))
            await loop.sock_connect(sock, (HOST, self._port))
            await loop.create_connection(lambda: connection, sock=sock)
        except OSError:
            sock.close()
            return False
        return await connection.ask()


Item = TypeVar("Item")


async def _count_false(work: Callable[[Item], Awaitable[bool]], items: Iterable[Item]) -> int:
    """How many of the calls, AT_ONCE of them at a time, gave False."""
    waiting = iter(items)

    async def worker() -> int:
        return sum([not await work(item) for item in waiting])

    return sum(await asyncio.gather(*(worker() for _ in range(AT_ONCE))))


async def _obey(holder: Holder) -> None:
    """Do what the lines on standard input say, until it ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        command, *words = line.decode().split()
        if command == "hold":
            failed = await holder.hold(int(words[0]))
            print("held", holder.count, failed, flush=True)
        else:
            lost = await holder.check()
            print("alive", holder.count - lost, lost, flush=True)


def main() -> None:
    port, path, family = sys.argv[1:]
    kind = Http1Connection if family == "http1" else H2Connection
    uvloop.run(_obey(Holder(int(port), lambda: kind(path))))


if __name__ == "__main__":
    main()
