"""How much of a sidecar a service may take: connections and waiting requests, over all its endpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from remora.model.policies import Caps
from remora.sidecar.policy.keep_alive import FRESH_S
from remora.sidecar.upstream.pool import Pool
from remora.sidecar.upstream.room import Room
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import ClientConnection
from tests.support.backend import running_raw_server
from tests.support.waiting import until


class Handler:
    """Of an answer that does not come."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Waiter:
    """Keeps its connection busy."""

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.failed = ""

    def on_connection(self, connection: ClientConnection) -> None:
        self.connection = connection
        connection.open(RequestHead(b"GET", b"/", b"shop", []), True, Handler())  # type: ignore[arg-type]

    def on_connect_failure(self, reason: str) -> None:
        self.failed = reason


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def pool(port: int, room: Room, protocol: str = "http1") -> Pool:
    return Pool("127.0.0.1", port, protocol, 5.0, lambda _: None, room=room)  # type: ignore[arg-type]


def wait(found: Pool) -> tuple[Waiter, str | None]:
    waiter = Waiter()
    return waiter, found.wait(waiter)


async def test_pools_share_the_limit_and_a_place_goes_to_the_one_that_waits() -> None:
    room = Room(Caps(connections=2))
    async with silent_server() as one, silent_server() as other:
        first, second = pool(one, room), pool(other, room)
        a, b, c = wait(first)[0], wait(second)[0], wait(second)[0]
        await until(lambda: a.connection and b.connection)
        assert (room.connections, room.waiting, second.connections) == (2, 1, 1)
        assert c.connection is None
        assert a.connection is not None
        a.connection.abort()
        await until(lambda: c.connection)
        assert (room.connections, room.waiting, second.connections) == (2, 0, 2)
        first.abort()
        second.abort()
        await until(lambda: room.connections == 0)


class Once:
    """Asks for what must not be sent twice."""

    is_repeatable = False


@pytest.mark.parametrize("met_a_closing_one", [False, True])
async def test_who_does_not_trust_an_idle_connection_gets_its_place(met_a_closing_one: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    room = Room(Caps(connections=1))
    async with running_raw_server(answer) as port:
        found = pool(port, room)
        first, _ = wait(found)
        await until(lambda: first.connection is not None and first.connection.free_slots == 1)
        await asyncio.sleep(2 * FRESH_S)
        assert (found.take_anew() if met_a_closing_one else found.take(Once())) is None
        second, _ = wait(found)
        await until(lambda: second.connection)
        assert second.connection is not first.connection
        assert room.connections == 1
        found.abort()


async def test_an_endpoint_may_always_have_one_connection() -> None:
    room = Room(Caps(connections=1))
    async with silent_server() as one, silent_server() as other:
        first, second = pool(one, room), pool(other, room)
        a, b = wait(first)[0], wait(second)[0]
        await until(lambda: a.connection and b.connection)
        assert room.connections == 2
        first.abort()
        second.abort()
        await until(lambda: room.connections == 0)


async def test_no_more_wait_than_may() -> None:
    room = Room(Caps(connections=1, pending=2))
    async with silent_server() as port:
        found = pool(port, room)
        first = wait(found)[0]
        await until(lambda: first.connection)
        (one, said), (two, again) = wait(found), wait(found)
        assert (said, again) == (None, None)
        assert wait(found)[1] == "pending"
        found.forget(one)
        three, once_more = wait(found)
        assert once_more is None
        found.forget(one)
        assert room.waiting == 2
        found.forget(two)
        found.forget(three)
        assert room.waiting == 0
        found.abort()
        await until(lambda: room.connections == 0)


async def test_0_is_no_limit() -> None:
    room = Room(Caps(connections=1, pending=0))
    async with silent_server() as port:
        found = pool(port, room)
        assert [wait(found)[1] for _ in range(2000)] == [None] * 2000
        assert room.waiting == 2000
        found.abort()
        await until(lambda: room.connections == 0)


async def test_a_larger_limit_counts_at_once() -> None:
    room = Room(Caps(connections=1))
    async with silent_server() as port:
        found = pool(port, room)
        first, second = wait(found)[0], wait(found)[0]
        await until(lambda: first.connection)
        assert second.connection is None
        room.configure(Caps(connections=0))
        await until(lambda: second.connection)
        found.abort()
        await until(lambda: room.connections == 0)


async def test_tunnels_do_not_wait_for_a_place() -> None:
    room = Room(Caps(connections=1))
    async with silent_server() as port:
        found = pool(port, room, "tcp")
        first = wait(found)[0]
        assert wait(found)[1] == "connections"
        await until(lambda: first.connection)
        assert wait(found)[1] == "connections"
        assert first.connection is not None
        first.connection.abort()
        await until(lambda: room.connections == 0)
        assert wait(found)[1] is None
        found.abort()
        await until(lambda: room.connections == 0)


@pytest.mark.parametrize("protocol", ["http1", "h2", "tcp"])
async def test_failed_connects_leave_nothing_behind(protocol: str) -> None:
    room = Room(Caps(connections=3))
    async with silent_server() as port:
        pass
    found = pool(port, room, protocol)
    waiters = [wait(found)[0] for _ in range(3)]
    await until(lambda: all(waiter.failed for waiter in waiters))
    await until(lambda: room.connections == 0)
    assert room.waiting == 0
