"""WebSocket and other upgrades through two sidecars in a row, by websockets, aiohttp, h2 and raw sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from h2.settings import SettingCodes
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.support import documents
from tests.support.backend import running_backend, running_raw_server
from tests.support.h2_peer import Call, h2_client, h2_server
from tests.support.mesh import metric, running_row
from tests.support.process import running_sidecar
from tests.support.streams import cut
from tests.support.waiting import until

TIMEOUT_S = 20
SIZES = (0, 1, 125, 126, 65_535, 65_536, 3_000_000)
EXTENDED_CONNECT = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}

UPGRADE = b"GET /%b HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """A WebSocket server by websockets that sends each message back; gives its address."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("between", ["http1", "h2"])
async def test_messages_come_back_through_two_sidecars(tmp_path: Path, between: str) -> None:
    """Over HTTP/1.1 all the way, and as an extended CONNECT between the two."""
    async with echoing() as app, running_row(app, tmp_path, "http1", between=between) as row:
        url = f"ws://127.0.0.1:{row.port}/chat?room=1"
        async with connect(url, max_size=None, compression=None, subprotocols=["chat"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "chat"
            for size in SIZES:
                message = bytes(range(256)) * (size // 256) + bytes(size % 256)
                await client.send(message)
                assert await client.recv() == message
        async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=("chat",)) as other:
            await other.send_str("hello")
            assert (await other.receive()).data == "hello"
        for sidecar, direction in ((row.caller, "outbound"), (row.callee, "inbound")):
            labels = {"direction": direction, "kind": "upgrade"}
            assert await metric(sidecar, "mesh_tcp_connections_opened_total", **labels) == 2
            assert await metric(sidecar, "mesh_tcp_received_bytes_total", **labels) > sum(SIZES)
            assert await metric(sidecar, "mesh_tcp_sent_bytes_total", **labels) > sum(SIZES)
            assert await metric(sidecar, "mesh_requests_total", direction=direction, status="1xx") == 2


async def test_a_client_of_http2_talks_to_an_app_of_http1(tmp_path: Path) -> None:
    """RFC 8441 by h2; the frames are made by hand, as are their answers."""
    async with echoing() as app, running_row(app, tmp_path, "http1") as row, h2_client(row.port) as client:
        await until(lambda: client.connection.remote_settings.enable_connect_protocol == 1)
        call = client.request(
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"websocket"),
                (b":scheme", b"http"),
                (b":path", b"/chat"),
                (b":authority", b"app"),
                (b"sec-websocket-version", b"13"),
                (b"sec-websocket-protocol", b"chat"),
            ],
            end=False,
        )
        await call.until(lambda: call.status == 200)
        assert call.field(b"sec-websocket-accept") is None
        await call.send_data(b"\x81\x82\x00\x00\x00\x00hi")
        await call.until(lambda: call.data == b"\x81\x02hi")
        await call.send_data(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        await call.until(lambda: call.data.startswith(b"\x81\x02hi\x88"))
        await call.send_data(b"", end=True)
        await call.finish()
        assert call.ended


async def test_an_app_of_http2_takes_websockets_of_http1(tmp_path: Path) -> None:
    """The app gets RFC 8441's CONNECT; the client sees a switch with an accept that fits its key."""
    asked: list[Call] = []

    async def echo(call: Call) -> None:
        asked.append(call)
        call.send_headers([(b":status", b"200")])
        await call.until(lambda: len(call.data) >= 6 + 2)
        await call.send_data(b"\x81\x02ok")
        await call.until(lambda: call.data[8:9] == b"\x88")
        await call.send_data(b"\x88\x02\x03\xe8", end=True)

    async with (
        h2_server(echo, EXTENDED_CONNECT) as app,
        running_row(app.address, tmp_path, "h2") as row,
        connect(f"ws://127.0.0.1:{row.port}/chat", compression=None) as client,
    ):
        await client.send(b"hi")
        assert await client.recv() == "ok"
        await client.close()
        assert client.close_code == 1000
    call = asked[0]
    assert (call.field(b":method"), call.field(b":protocol")) == (b"CONNECT", b"websocket")
    assert (call.field(b":path"), call.field(b"sec-websocket-version")) == (b"/chat", b"13")
    assert call.field(b"upgrade") is call.field(b"connection") is None


async def test_an_app_of_http2_without_extended_connect_is_told(tmp_path: Path) -> None:
    async def never(call: Call) -> None:
        raise AssertionError("asked")

    async with h2_server(never) as app, running_row(app.address, tmp_path, "h2") as row:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{row.port}/chat")
        assert refused.value.response.status_code == 501


@pytest.mark.parametrize("between", ["http1", "h2"])
async def test_a_declined_upgrade_is_an_answer_and_the_connection_goes_on(tmp_path: Path, between: str) -> None:
    async def decline(request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade"):
            return web.Response(status=426, text="not here", headers={"x-upgrade": request.headers["upgrade"]})
        return web.Response(text="plain")

    async with running_backend(decline) as app, running_row(app.address, tmp_path, "http1", between=between) as row:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{row.port}", connector=connector) as client:
            for _ in range(3):
                asks = {"connection": "Upgrade", "upgrade": "other/1"}
                async with client.get("/", headers=asks) as response:
                    assert (response.status, await response.text()) == (426, "not here")
                    assert response.headers["x-upgrade"] == "other/1"
                async with client.get("/") as response:
                    assert (response.status, await response.text()) == (200, "plain")
        assert await metric(row.caller, "mesh_requests_total", status="4xx", flag="") == 3


async def open_raw(port: int, path: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(UPGRADE % path)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


@pytest.mark.parametrize("between", ["http1", "h2"])
async def test_each_direction_ends_by_itself(tmp_path: Path, between: str) -> None:
    """The app answers only once it has seen the end of what it is told; then the other way round."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        if b"/last" in head:
            writer.write(b"that is all")
            writer.write_eof()
            heard.append(await reader.read())
        else:
            said = await reader.read()
            writer.write(b"heard " + said)

    heard: list[bytes] = []
    async with running_raw_server(converse) as port, asyncio.timeout(TIMEOUT_S):
        async with running_row(f"127.0.0.1:{port}", tmp_path, "http1", between=between) as row:
            reader, writer = await open_raw(row.port)
            writer.write(b"me first")
            writer.write_eof()
            assert await reader.read() == b"heard me first"
            writer.close()
            reader, writer = await open_raw(row.port, b"last")
            assert await reader.read() == b"that is all"
            writer.write(b"still here")
            writer.write_eof()
            await until(lambda: heard == [b"still here"])
            writer.close()


@pytest.mark.parametrize("between", ["http1", "h2"])
async def test_a_cut_on_one_side_is_a_cut_on_the_other(tmp_path: Path, between: str) -> None:
    lost = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        if b"/cut" in head:
            await reader.readexactly(2)
            cut(writer)
            return
        try:
            await reader.read()
        except ConnectionError:
            lost.set()

    async with running_raw_server(converse) as port, asyncio.timeout(TIMEOUT_S):
        async with running_row(f"127.0.0.1:{port}", tmp_path, "http1", between=between) as row:
            reader, writer = await open_raw(row.port, b"cut")
            writer.write(b"go")
            with pytest.raises(ConnectionError):
                await reader.read()
            writer.close()
            reader, writer = await open_raw(row.port)
            cut(writer)
            await lost.wait()
            labels = {"kind": "upgrade", "direction": "outbound"}
            assert await metric(row.caller, "mesh_tcp_connections_closed_total", flag="UC", **labels) == 1
            assert await metric(row.caller, "mesh_tcp_connections_closed_total", flag="DC", **labels) == 1


async def test_an_app_that_dies_closes_its_websockets(tmp_path: Path) -> None:
    async def die(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with serve(die, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with running_row(address, tmp_path, "http1") as row, connect(f"ws://127.0.0.1:{row.port}") as client:
            await client.send("go")
            with pytest.raises(ConnectionClosedError):
                await client.recv()


@pytest.mark.parametrize("between", ["http1", "h2"])
@pytest.mark.parametrize("way", ["down", "up"])
async def test_who_does_not_read_holds_back_who_writes(tmp_path: Path, between: str, way: str) -> None:
    """Of 256 MiB only what the buffers on the way hold is taken: mostly the kernel's, of three connections."""
    total, taken = 256 << 20, 0
    stalled = asyncio.Event()

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        while taken < total:
            writer.write(bytes(65536))
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stalled.set()
                await writer.drain()
            taken += 65536
        writer.write_eof()

    async def drink(reader: asyncio.StreamReader) -> int:
        await stalled.wait()
        size = 0
        assert taken < total // 2
        while chunk := await reader.read(1 << 20):
            size += len(chunk)
        return size

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        if way == "down":
            await pour(writer)
            await reader.read()
        else:
            writer.write(b"%d" % await drink(reader))

    async with running_raw_server(converse) as port, asyncio.timeout(60):
        async with running_row(f"127.0.0.1:{port}", tmp_path, "http1", between=between) as row:
            reader, writer = await open_raw(row.port)
            if way == "down":
                assert await drink(reader) == total
            else:
                await pour(writer)
                assert await reader.read() == b"%d" % total
            writer.close()
    assert stalled.is_set()


async def test_http2_all_the_way(tmp_path: Path) -> None:
    """An extended CONNECT from a client of HTTP/2 to an app of HTTP/2, declared or found out."""

    async def echo(call: Call) -> None:
        assert call.field(b":protocol") == b"websocket"
        call.send_headers([(b":status", b"200")])
        await call.until(lambda: call.ended)
        await call.send_data(call.data, end=True)

    for protocol in ("h2", "auto"):
        async with h2_server(echo, EXTENDED_CONNECT) as app, running_row(app.address, tmp_path, protocol) as row:
            async with h2_client(row.port) as client:
                await until(lambda: client.connection.remote_settings.enable_connect_protocol == 1)
                pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http")]
                call = client.request([*pseudo, (b":path", b"/"), (b":authority", b"app")], end=False)
                await call.send_data(b"x" * 200_000, end=True)
                await call.finish()
                assert (call.status, call.size, call.ended) == (200, 200_000, True)


async def test_a_silent_websocket_ends_after_the_idle_timeout(tmp_path: Path) -> None:
    """A request's total is not a tunnel's; silence is what counts, of both sides together."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        await reader.read()

    async with running_raw_server(converse) as port:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("app", f"127.0.0.1:{port}"),
            documents.traffic_policy("app", timeouts={"idle": "600ms", "request": "200ms"}),
        )
        async with running_sidecar(None, "--config", str(mesh), "--outbound", "app=:0") as sidecar:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await open_raw(sidecar.port("outbound:app"))
                started = time.monotonic()
                said = started
                while said - started < 1.5:
                    said = time.monotonic()
                    writer.write(b"still here")
                    await asyncio.sleep(0.05)
                with pytest.raises(ConnectionError):
                    await reader.read()
                assert time.monotonic() - said > 0.3
                writer.close()
            closed = "mesh_tcp_connections_closed_total"
            assert await metric(sidecar, closed, flag="SI", kind="upgrade") == 1
