"""HTTP/2 upstreams that limit, leave, freeze or go silent: what the pool and its connections make of it."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.settings import SettingCodes

from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http2 import Http2ClientConnection, Http2Limits
from remora.sidecar.wire.stream import ResetReason
from tests.support.h2_peer import Call, Peer, h2_client, h2_server, request_headers
from tests.support.ports import free_port
from tests.support.process import running_sidecar
from tests.support.waiting import until
from tests.support.wire import Heard, Owner

DEADLINE_S = 20
QUICK = Http2Limits(tick_s=0.1, ping_timeout_s=0.2, idle_s=0.3)
STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS


async def answer(call: Call) -> None:
    await call.finish()
    call.send_headers([(b":status", b"200")])
    await call.send_data(call.field(b":path") or b"", end=True)


async def load(port: int, count: int, at_once: int, method: str = "POST") -> Counter[int]:
    """`count` requests on one connection, `at_once` at a time; their statuses."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(count))

    async def ask_on(client: Peer) -> None:
        for number in numbers:
            call = client.request(request_headers(method, f"/{number}"), end=False)
            await call.send_data(b"x" * 1000, end=True)
            await call.finish()
            statuses[call.status] += 1
            if call.status == 200:
                assert call.data == f"/{number}".encode()

    async with h2_client(port) as client, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(ask_on(client))
    return statuses


@pytest.mark.parametrize("limit", [1, 2])
async def test_further_connections_are_opened_where_the_server_limits_streams(limit: int) -> None:
    live: list[int] = []

    def note(peer: Peer, call: Call) -> bool:
        live.append(peer.live)
        return True

    async with (
        h2_server(answer, {STREAMS: limit}, note) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        assert await load(sidecar.port("inbound"), 400, at_once=40) == {200: 400}
        assert max(live) == limit
        assert 40 // limit <= app.open_connections + 5


async def test_a_limit_that_goes_up_and_down_under_load_is_kept() -> None:
    """h2 closes a connection on which a stream too many is opened, once its settings have been acknowledged."""
    limits = itertools.cycle((1, 12, 2, 6))

    def change(peer: Peer, call: Call) -> bool:
        if len(peer.calls) % 10 == 0:
            peer.change({STREAMS: next(limits)})
        return True

    async with (
        h2_server(answer, {STREAMS: 6}, change) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        assert await load(sidecar.port("inbound"), 600, at_once=40) == {200: 600}
        assert all(peer.is_open for peer in app.peers if peer.calls)
        assert len([peer for peer in app.peers if peer.calls]) > 40 // 12


async def test_streams_that_do_not_end_are_no_one_elses_wait() -> None:
    """Each connection takes one stream, and none of them ends: the next needs a connection of its own."""
    release = asyncio.Event()

    async def hold(call: Call) -> None:
        call.send_headers([(b":status", b"200")])
        await call.send_data(b"there")
        await release.wait()
        await call.send_data(b"", end=True)

    async with (
        h2_server(hold, {STREAMS: 1}) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        calls = [client.request(request_headers()) for _ in range(10)]
        for call in calls:
            await call.until(lambda call=call: call.data == b"there")  # type: ignore[misc]
        release.set()
        for call in calls:
            assert (await call.finish()).ended


async def test_goaway_in_the_middle_of_load_costs_nobody_a_request() -> None:
    """Every connection takes 25 requests, then says GOAWAY; what comes later on it is never served."""

    def leave(peer: Peer, call: Call) -> bool:
        number = len(peer.calls)
        if number == 25:
            peer.goaway(call.stream_id)
        return number <= 25

    async with (
        h2_server(answer, on_request=leave) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        assert await load(sidecar.port("inbound"), 500, at_once=8) == {200: 500}
        assert len(app.peers) >= 20


async def test_goaway_in_two_phases_costs_nobody_a_request() -> None:
    def leave(peer: Peer, call: Call) -> bool:
        if len(peer.calls) == 20:
            peer.goaway(2**31 - 1)
        return True

    async with (
        h2_server(answer, on_request=leave) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        assert await load(sidecar.port("inbound"), 500, at_once=20) == {200: 500}
        assert len(app.peers) > 5


# liveness


@asynccontextmanager
async def connected(port: int, limits: Http2Limits = QUICK) -> AsyncIterator[tuple[Http2ClientConnection, Owner]]:
    owner = Owner()
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Http2ClientConnection(owner, limits=limits, expected_streams=10), "127.0.0.1", port
    )
    try:
        yield connection, owner
    finally:
        connection.abort()


def ask(connection: Http2ClientConnection) -> Heard:
    heard = Heard()
    connection.open(RequestHead(b"GET", b"/", b"app", []), True, heard)
    return heard


async def silent(call: Call) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def running_nghttpd() -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    port = free_port()
    process = await asyncio.create_subprocess_exec("nghttpd", "--no-tls", str(port), "-d", "/")
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port, process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await process.wait()


@pytest.mark.skipif(shutil.which("nghttpd") is None, reason="nghttpd (nghttp2-server) is not installed")
async def test_a_frozen_process_is_noticed() -> None:
    async with running_nghttpd() as (port, process), connected(port) as (connection, owner):
        first = ask(connection)
        await until(lambda: first.ended)
        process.send_signal(signal.SIGSTOP)
        second = ask(connection)
        await until(lambda: second.reset is not None)
        assert second.reset is ResetReason.PEER_RESET
        assert owner.closed == 1


async def test_a_stream_that_is_silent_on_a_server_that_lives_goes_on() -> None:
    """It is asked by PING, but not so often that a gRPC server would call it abuse."""
    async with h2_server(silent) as server, connected(server.port) as (connection, _):
        heard = ask(connection)
        await until(lambda: bool(server.peers and server.peers[0].pings))
        peer = server.peers[0]
        answered_until = asyncio.get_running_loop().time() + 5 * QUICK.ping_timeout_s
        await until(lambda: asyncio.get_running_loop().time() > answered_until)
        assert heard.reset is None
        assert connection.live_streams == 1
        assert 1 <= peer.pings <= 3


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with h2_server(answer) as server, connected(server.port) as (connection, owner):
        heard = ask(connection)
        await until(lambda: heard.ended)
        assert owner.closed == 0
        await until(lambda: owner.closed == 1)
        await until(lambda: server.open_connections == 0)
        assert server.peers[0].goaways


async def test_a_silent_server_behind_a_sidecar_does_not_hold_requests_for_good() -> None:
    """It accepts and says nothing, ever; the sidecar's own inbound has no timeout of its own."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        running_sidecar(f"127.0.0.1:{port}", "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        call = client.request(request_headers("POST"))
        await call.finish()
        assert call.status == 503
        assert call.field(b"x-mesh-error") == b"upstream_reset"
    server.close()
