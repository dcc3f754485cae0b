"""Pools over real sockets: who waits, what is reused, what is forgotten."""

from __future__ import annotations

import asyncio
import socket

import pytest
from h2.settings import SettingCodes

from remora.model.policies import Caps
from remora.sidecar.upstream.pool import Pool
from remora.sidecar.upstream.room import Room
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http2 import frames
from remora.sidecar.wire.stream import ClientConnection
from tests.support.backend import running_raw_server
from tests.support.h2_peer import Call, PeerSettings, h2_server
from tests.support.waiting import until
from tests.support.wire import Heard


class Waiter:
    """Waits for a connection."""

    def __init__(self) -> None:
        self.connection: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()
        self.heard = Heard()

    def on_connection(self, connection: ClientConnection) -> None:
        connection.open(RequestHead(b"GET", b"/", b"a", []), True, self.heard)
        self.connection.set_result(connection)

    def on_connect_failure(self, reason: str) -> None:
        self.connection.set_exception(ConnectionError(reason))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def ended(heard: Heard) -> None:
    await until(lambda: heard.ended)


async def test_a_connection_is_reused_and_those_in_line_get_theirs() -> None:
    connects: list[bool] = []
    async with running_raw_server(answer) as port:
        pool = Pool("127.0.0.1", port, "http1", 5.0, connects.append)
        assert pool.take() is None
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            pool.wait(waiter)
        for waiter in waiters:
            await asyncio.wait_for(waiter.connection, 10)
            await ended(waiter.heard)
        assert all(connects)
        assert 1 <= pool.connections <= 3
        taken = pool.take()
        assert taken is not None
        heard = Heard()
        taken.open(RequestHead(b"GET", b"/", b"a", []), True, heard)
        await ended(heard)
        assert pool.take() is taken
        pool.abort()


async def test_all_who_wait_hear_of_a_failed_connect() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        connects: list[bool] = []
        pool = Pool("127.0.0.1", port, "http1", 5.0, connects.append)
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            pool.wait(waiter)
        results = await asyncio.wait_for(
            asyncio.gather(*(waiter.connection for waiter in waiters), return_exceptions=True), 10
        )
    assert all(f"127.0.0.1:{port}" in str(result) for result in results)
    assert connects
    assert not any(connects)


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "a\0b"])
async def test_a_host_that_can_be_none_fails_those_who_wait(host: str, caplog: pytest.LogCaptureFixture) -> None:
    connects: list[bool] = []
    pool = Pool(host, 80, "http1", 5.0, connects.append)
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        pool.wait(waiter)
    for waiter in waiters:
        with pytest.raises(ConnectionError, match="no connection to"):
            await asyncio.wait_for(waiter.connection, 10)
    assert connects
    assert not any(connects)
    # Any caller can ask for such a host: that is no error of ours.
    assert not caplog.records


async def test_a_connect_that_fails_as_nobody_foresaw_fails_those_who_wait(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool("127.0.0.1", 1 << 70, "http1", 5.0, lambda _: None)
    waiter = Waiter()
    pool.wait(waiter)
    with pytest.raises(ConnectionError, match="OverflowError"):
        await asyncio.wait_for(waiter.connection, 10)
    assert any("nobody foresaw" in record.message and record.exc_info for record in caplog.records)


async def test_a_new_connection_that_cannot_be_used_fails_those_who_wait(caplog: pytest.LogCaptureFixture) -> None:
    def stumble(ok: bool) -> None:
        if ok:
            raise LookupError("no such endpoint")

    async with running_raw_server(answer) as port:
        pool = Pool("127.0.0.1", port, "http1", 5.0, stumble)
        waiter = Waiter()
        pool.wait(waiter)
        with pytest.raises(ConnectionError, match="no such endpoint"):
            await asyncio.wait_for(waiter.connection, 10)
        assert any(record.exc_info for record in caplog.records)
        assert pool.connections == 0
        pool.abort()


async def test_who_stumbles_over_its_connection_hears_so_and_the_others_get_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clumsy(Waiter):
        def on_connection(self, connection: ClientConnection) -> None:
            raise LookupError("no such request")

    async with running_raw_server(answer) as port:
        pool = Pool("127.0.0.1", port, "http1", 5.0, lambda _: None)
        clumsy, other = Clumsy(), Waiter()
        pool.wait(clumsy)
        pool.wait(other)
        with pytest.raises(ConnectionError, match="no such request"):
            await asyncio.wait_for(clumsy.connection, 10)
        await asyncio.wait_for(other.connection, 10)
        await ended(other.heard)
        assert any(record.exc_info for record in caplog.records)
        pool.abort()


async def test_who_stumbles_over_a_failure_does_not_keep_the_others_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clumsy(Waiter):
        def on_connect_failure(self, reason: str) -> None:
            raise LookupError(reason)

    pool = Pool("a..b", 80, "h2", 5.0, lambda _: None)
    clumsy, other = Clumsy(), Waiter()
    pool.wait(clumsy)
    pool.wait(other)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(other.connection, 10)
    assert any(record.exc_info for record in caplog.records)


async def test_who_waits_again_when_a_connect_fails_gets_another() -> None:
    """At once, while the connect that failed is still on the stack."""

    class Stubborn(Waiter):
        def on_connect_failure(self, reason: str) -> None:
            pool.wait(again)
            super().on_connect_failure(reason)

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        pool = Pool("127.0.0.1", nobody.getsockname()[1], "h2", 5.0, lambda _: None)
        first, again = Stubborn(), Waiter()
        pool.wait(first)
        await asyncio.wait_for(asyncio.gather(first.connection, again.connection, return_exceptions=True), 10)


async def test_a_connection_that_is_closed_leaves_the_pool() -> None:
    hang_up = asyncio.Event()

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await hang_up.wait()

    async with running_raw_server(answer_and_close) as port:
        pool = Pool("127.0.0.1", port, "http1", 5.0, lambda _: None)
        waiter = Waiter()
        pool.wait(waiter)
        await asyncio.wait_for(waiter.connection, 10)
        await ended(waiter.heard)
        assert pool.connections == 1
        hang_up.set()
        await until(lambda: not pool.connections)
        assert pool.take() is None


async def test_a_connection_lost_before_its_first_use_is_not_kept() -> None:
    class Lost:
        """What a connection looks like that closed while it was being made."""

        free_slots = 0

        def drain(self) -> None: ...

    connects: list[bool] = []
    pool = Pool("127.0.0.1", 9, "http1", 5.0, connects.append)
    pool._on_connected(Lost())  # type: ignore[arg-type]
    assert (pool.connections, pool.take(), connects) == (0, None, [False])


async def test_a_new_connection_is_tried_with_one_request() -> None:
    """Whatever was said on another: until it has said something itself, all that is sent on it may be lost."""
    said = [frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 100}), b""]

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said.pop(0))
        await reader.read()

    async with running_raw_server(say) as port:
        pool = Pool("127.0.0.1", port, "h2", 5.0, lambda _: None)
        first = Waiter()
        pool.wait(first)
        connection = await asyncio.wait_for(first.connection, 10)
        await until(lambda: connection.free_slots == 99)
        connection.abort()
        later = [Waiter() for _ in range(3)]
        for waiter in later:
            pool.wait(waiter)
        await asyncio.wait_for(later[0].connection, 10)
        assert (pool.waiting, [waiter.connection.done() for waiter in later]) == (2, [True, False, False])
        pool.abort()


async def test_a_limit_of_streams_that_goes_down_counts_for_further_connections() -> None:
    """h2 closes a connection on which more come than its settings say, be it before they have."""

    async def hold(call: Call) -> None:
        await asyncio.Event().wait()

    limits: PeerSettings = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    async with h2_server(hold, limits) as server:
        pool = Pool("127.0.0.1", server.port, "h2", 5.0, lambda _: None)

        async def ask(count: int) -> list[Waiter]:
            waiters = [Waiter() for _ in range(count)]
            for waiter in waiters:
                pool.wait(waiter)
            async with asyncio.timeout(10):
                await asyncio.gather(*(waiter.connection for waiter in waiters))
            return waiters

        asked = await ask(6)
        await until(lambda: sum(len(peer.calls) for peer in server.peers) == 6)
        assert len(server.peers) == 2
        limits[SettingCodes.MAX_CONCURRENT_STREAMS] = 1
        for peer in tuple(server.peers):
            peer.change({**limits})
            await peer.ping()
        asked += await ask(3)
        await until(lambda: sum(len(peer.calls) for peer in server.peers) == 9)
        assert [len(peer.calls) for peer in server.peers] == [3, 3, 1, 1, 1]
        assert [waiter.heard.reset for waiter in asked] == [None] * 9
        pool.abort()


async def test_a_pool_that_is_aborted_opens_no_connection_for_those_who_wait() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with running_raw_server(hang) as port:
        room = Room(Caps(connections=1))
        pool = Pool("127.0.0.1", port, "http1", 5.0, lambda _: None, room=room)
        served, waiting = Waiter(), Waiter()
        pool.wait(served)
        await asyncio.wait_for(served.connection, 10)
        pool.wait(waiting)
        tasks = asyncio.all_tasks()
        pool.abort()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(waiting.connection, 10)
        await until(lambda: served.heard.reset)
        assert asyncio.all_tasks() <= tasks
        assert (room.waiting, room.connections, pool.connections) == (0, 0, 0)
