"""Apps that close idle connections while requests are on their way: none is lost, and none is processed twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from remora.sidecar.policy.keep_alive import FRESH_S
from remora.sidecar.upstream.pool import Pool
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.stream import ResetReason
from tests.support.mesh import metric
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until
from tests.support.wire import Heard

TIMEOUT_S = 60
NEVER = 3600.0


class App:
    """An app that closes connections that were idle for `keep_alive_s`, and counts what it was asked."""

    def __init__(self, keep_alive_s: float, announced_s: float | None = None) -> None:
        self.keep_alive_s = keep_alive_s
        self.asked: Counter[bytes] = Counter()
        self.open: set[AppConnection] = set()
        self.used = 0
        """Connections that had a request."""
        self.port = 0
        self.fields = b"" if announced_s is None else b"Keep-Alive: timeout=%d\r\n" % announced_s

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class AppConnection(asyncio.Protocol):
    """Reads requests whose bodies are their numbers."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen = b""
        self.transport: asyncio.Transport
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.app.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.app.open.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, rest = self.seen.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        if not end or len(rest) < length:
            return
        self.seen = rest[length:]
        self.app.asked[rest[:length]] += 1
        self.app.used += self.timer is None
        self.transport.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % self.app.fields)
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(self.app.keep_alive_s, self.transport.close)


@asynccontextmanager
async def running_app(keep_alive_s: float, announced_s: float | None = None) -> AsyncIterator[App]:
    app = App(keep_alive_s, announced_s)
    server = await asyncio.get_running_loop().create_server(lambda: AppConnection(app), "127.0.0.1", 0)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        for connection in tuple(app.open):
            connection.transport.abort()


async def hammer(client: aiohttp.ClientSession, app: App, sidecar: Command, deadline: float) -> Counter[int]:
    """Requests, each at about the moment when the app closes the connection that served the one before."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(1_000_000))

    async def caller(method: str) -> None:
        while time.monotonic() < deadline:
            number = f"{method} {next(numbers)}"
            async with client.request(method, sidecar.url("inbound"), data=number) as response:
                statuses[response.status] += 1
            await asyncio.sleep(app.keep_alive_s * random.uniform(0.98, 1.02) + random.uniform(-0.001, 0.001))

    async with asyncio.TaskGroup() as group:
        for method in ("POST", "POST", "POST", "GET", "PUT"):
            group.create_task(caller(method))
    return statuses


async def test_no_request_is_lost_at_any_keep_alive() -> None:
    """50 ms to 5 s; POSTs reach the app exactly once."""

    async def at(keep_alive_s: float, announces: bool) -> None:
        async with running_app(keep_alive_s, keep_alive_s if announces else None) as app:
            async with running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
                statuses = await hammer(client, app, sidecar, time.monotonic() + max(4.0, 2.2 * keep_alive_s))
                assert set(statuses) == {200}, f"{keep_alive_s} s: {statuses}"
                assert sum(app.asked.values()) >= sum(statuses.values())
                posts = {number: count for number, count in app.asked.items() if number.startswith(b"POST")}
                assert set(posts.values()) == {1}

    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        for keep_alive_s in (0.05, 0.2, 1.0, 5.0):
            group.create_task(at(keep_alive_s, False))
        group.create_task(at(1.0, True))


async def test_connections_are_used_again_where_the_app_keeps_them() -> None:
    """Caution costs a connection more, not one for each request."""
    async with running_app(NEVER) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        for number in range(30):
            async with client.post(sidecar.url("inbound"), data=f"{number}") as response:
                assert response.status == 200
            await asyncio.sleep(0.05)
        # When a pause is longer than all before it, and only then, a connection more.
        assert app.used <= 15


async def test_idle_connections_are_closed_in_time() -> None:
    """After our own time, and the one that the app announces; these apps close none."""
    async with (
        running_app(NEVER) as app,
        running_sidecar(app.address, "--keep-alive", "200ms") as sidecar,
        aiohttp.ClientSession() as client,
    ):
        async with client.get(sidecar.url("inbound"), data=b"x"):
            pass
        await until(lambda: not any(connection.timer for connection in app.open))
    took = []
    for announced_s in (1.0, 3.0):
        async with running_app(NEVER, announced_s) as app, running_sidecar(app.address) as sidecar:
            async with aiohttp.ClientSession() as client, client.get(sidecar.url("inbound"), data=b"x"):
                started = time.monotonic()
                await until(lambda: not any(connection.timer for connection in app.open))
                took.append(time.monotonic() - started)
    assert 0.5 < took[0] < took[1]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_that_meets_a_closing_connection_is_sent_again(method: str) -> None:
    """The sidecar sleeps while first a request comes and then the app closes: it hears of both at once."""
    async with asyncio.timeout(TIMEOUT_S):
        # One that is woken too late has learnt how soon the app closes, and does not meet it any more.
        while not await meet_closing_connections(method):
            pass


async def meet_closing_connections(method: str) -> float:
    """How many requests to a new sidecar met one, and were sent again; all have been answered."""
    async with running_app(NEVER) as app, running_sidecar(app.address) as sidecar:
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        request = method.encode() + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d"
        writer.write(request % 0)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        for number in range(1, 10):
            os.kill(sidecar.process.pid, signal.SIGSTOP)
            try:
                # At once, while the connection counts as fresh.
                writer.write(request % number)
                await asyncio.sleep(0)
                for connection in tuple(app.open):
                    connection.transport.close()
                await until(lambda: not app.open)
            finally:
                os.kill(sidecar.process.pid, signal.SIGCONT)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert {number: app.asked[b"%d" % number] for number in range(10)} == dict.fromkeys(range(10), 1)
        return await metric(sidecar, "mesh_retries_total", reason="stale connection")


# the connection by itself: nothing between a close and its use


@asynccontextmanager
async def used_once(
    converse_on: asyncio.Queue[asyncio.StreamWriter],
) -> AsyncIterator[tuple[Pool, asyncio.StreamReader]]:
    """A pool with one connection on which a request was answered; gives the server's end of it."""
    readers: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await readers.put(reader)
        await converse_on.put(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], "http1", 5.0, lambda _: None)
    try:
        waiter = _Waiter()
        pool.wait(waiter)
        await until(lambda: waiter.heard.ended)
        yield pool, await readers.get()
    finally:
        pool.abort()
        server.close()


class _Waiter:
    def __init__(self) -> None:
        self.heard = Heard()

    def on_connection(self, connection: object) -> None:
        assert isinstance(connection, Http1ClientConnection)
        connection.open(RequestHead(b"GET", b"/", b"a", []), True, self.heard)

    def on_connect_failure(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize("pieces", [0, 1, 3])
async def test_a_close_before_the_request_proves_that_it_was_not_processed(pieces: int) -> None:
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    async with used_once(writers) as (pool, _):
        (await writers.get()).transport.abort()  # which sends FIN: nothing is unread
        await asyncio.sleep(0)  # the loop closes the socket, and has not looked at the other end yet
        connection = pool.take()
        assert connection is not None
        heard = Heard()
        head = RequestHead(b"POST", b"/", b"a", [], content_length=10 * pieces)
        stream = connection.open(head, not pieces, heard)
        for piece in range(pieces):
            stream.send_data(bytes(10), piece == pieces - 1)
        await until(lambda: heard.reset is not None)
        assert heard.reset is ResetReason.STALE
        assert pool.take() is None


async def test_a_close_behind_the_request_proves_nothing() -> None:
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    for reads in (True, False):
        async with used_once(writers) as (pool, reader):
            connection = pool.take()
            assert connection is not None
            heard = Heard()
            connection.open(RequestHead(b"POST", b"/", b"a", []), True, heard)
            if reads:
                await reader.readuntil(b"\r\n\r\n")
            (await writers.get()).transport.abort()
            await until(lambda: heard.reset is not None)  # noqa: B023
            assert heard.reset is ResetReason.PEER_RESET


@pytest.mark.parametrize(
    ("idle_s", "reads", "reason"),
    [
        (2 * FRESH_S, False, ResetReason.CLOSING),
        (2 * FRESH_S, True, ResetReason.PEER_RESET),
        (0.0, False, ResetReason.PEER_RESET),
    ],
)
async def test_a_reset_of_what_had_been_idle_may_be_a_close(idle_s: float, reads: bool, reason: ResetReason) -> None:
    """A server that closes sends a reset if a request is unread; one that has read it ends the stream in order."""
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    async with used_once(writers) as (pool, reader):
        await asyncio.sleep(idle_s)
        connection = pool.take()
        assert connection is not None
        heard = Heard()
        connection.open(RequestHead(b"GET", b"/", b"a", []), True, heard)
        if reads:
            await reader.readuntil(b"\r\n\r\n")
        (await writers.get()).transport.abort()
        await until(lambda: heard.reset is not None)
        assert heard.reset is reason
