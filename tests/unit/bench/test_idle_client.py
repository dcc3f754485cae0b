"""The client that holds idle connections: it counts those that answer, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from bench import held
from bench.backends import Address
from bench.idle_client import H2Connection, Holder, Http1Connection

CORE = min(os.sched_getaffinity(0))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Http1Server:
    """Answers on each connection `answers` times and then closes it; counts connections and their addresses."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", answers: int = 1000) -> None:
        self.answer = answer
        self.answers = answers
        self.connections = 0
        self.sources: set[str] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.sources.add(writer.get_extra_info("peername")[0])
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(self.answers):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"GET /small HTTP/1.1\r\nHost: ")
                # In two pieces: an answer ends with its body.
                writer.write(self.answer[:-1])
                await asyncio.sleep(0)
                writer.write(self.answer[-1:])


async def h2_handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An independent HTTP/2 server: 200 with a body and trailers to the first request, 404 to the next."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    server.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
    server.ping(b"are you?")
    with contextlib.closing(writer):
        while True:
            writer.write(server.data_to_send())
            data = await reader.read(65536)
            if not data:
                return
            for event in server.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert (b":path", b"/say") in event.headers
                    assert (b"te", b"trailers") in event.headers
                    status = "200" if event.stream_id == 1 else "404"
                    server.send_headers(event.stream_id, [(":status", status)])
                    server.send_data(event.stream_id, b"hello")
                    server.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_connections_are_opened_once_and_stay() -> None:
    server = Http1Server()
    async with serving(server.handle) as port:
        holder = Holder(port, lambda: Http1Connection("/small"))

        assert await holder.hold(10) == 0
        assert await holder.hold(250) == 0
        assert await holder.check() == 0
        assert (holder.count, server.connections) == (250, 250)
        assert server.sources == {"127.0.0.2"}
        holder.close()


async def test_a_connection_that_was_closed_is_lost() -> None:
    async with serving(Http1Server(answers=1).handle) as port:
        holder = Holder(port, lambda: Http1Connection("/small"))

        assert await holder.hold(3) == 0
        assert await holder.check() == 3
        holder.close()


async def test_another_status_is_no_answer() -> None:
    async with serving(Http1Server(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno").handle) as port:
        holder = Holder(port, lambda: Http1Connection("/small"))

        assert await holder.hold(3) == 3
        holder.close()


async def test_nobody_there_is_no_answer() -> None:
    async with serving(Http1Server().handle) as port:
        pass

    assert await Holder(port, lambda: Http1Connection("/small")).hold(2) == 2


async def test_http2_answers_are_told_by_their_status() -> None:
    async with serving(h2_handle) as port:
        holder = Holder(port, lambda: H2Connection("/say"))

        assert await holder.hold(5) == 0
        assert await holder.check() == 5  # the second answer is a 404
        holder.close()


@pytest.fixture
def http1_port() -> Iterator[tuple[int, Http1Server]]:
    """A server in a thread of its own: `held.hold` blocks."""
    server, ready, port = Http1Server(), threading.Event(), [0]
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(server.handle) as port[0]:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield port[0], server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_what_the_connections_added_is_shared_among_them(
    http1_port: tuple[int, Http1Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, server = http1_port
    monkeypatch.setattr(held, "HELD_CONNECTIONS", 50)
    monkeypatch.setattr(held, "SETTLE_S", 0)
    monkeypatch.setattr(held, "SMALL_PATH", "/small")

    holding = held.hold(Address(port), "http1", CORE, tmp_path, lambda: 5000 + 100 * server.connections)
    with holding.client:
        assert (holding.failed, holding.rss_bytes, holding.bytes_each) == (0, 10_000, 100)
        assert holding.lost() == 0
        assert server.connections == 50
