"""Opaque TCP through two sidecars in a row: declared, detected, server-first, TLS."""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from tests.support import documents
from tests.support.backend import https_server, running_backend, running_raw_server
from tests.support.h2_peer import Call, h2_client, h2_server, request_headers
from tests.support.mesh import Row, metric, running_row
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar
from tests.support.streams import Streams, cut
from tests.support.waiting import until

TIMEOUT_S = 20
PATIENCE_S = 3.0
"""Far more than the silence of 0.2 s that each of two sidecars waits out, far less than the 10 s of other meshes."""
GREETING = b"220 mail ESMTP\r\n"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that speaks first."""
    writer.write(GREETING)
    while line := await reader.readline():
        writer.write(b"250 " + line)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield reader, writer
    finally:
        writer.transport.abort()


async def detected(row: Row, **labels: str) -> list[float]:
    """Of the sidecar before the app, and of the caller's."""
    name = "mesh_detected_connections_total"
    return [
        await metric(row.callee, name, listener="inbound", **labels),
        await metric(row.caller, name, listener="outbound:app", **labels),
    ]


async def test_declared_tcp_passes_bytes_both_ways_and_counts_them(tmp_path: Path) -> None:
    """Even what looks like HTTP is nobody's business."""
    sent = b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 40_000
    async with running_raw_server(echo) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, "tcp", between="tcp") as row:
            async with connected(row.port) as (reader, writer):

                async def send() -> None:
                    writer.write(sent)
                    await writer.drain()
                    writer.write_eof()

                sending = asyncio.create_task(send())
                assert hashlib.sha256(await reader.read()).digest() == hashlib.sha256(sent).digest()
                await sending
            for sidecar, direction in ((row.callee, "inbound"), (row.caller, "outbound")):
                labels = {"direction": direction, "kind": "tcp"}
                assert await metric(sidecar, "mesh_tcp_connections_opened_total", **labels) == 1
                assert await metric(sidecar, "mesh_tcp_connections_closed_total", flag="", **labels) == 1
                assert await metric(sidecar, "mesh_tcp_received_bytes_total", **labels) == len(sent)
                assert await metric(sidecar, "mesh_tcp_sent_bytes_total", **labels) == len(sent)
                assert await metric(sidecar, "mesh_requests_total") == 0
            assert await detected(row, protocol="tcp", by="declared") == [1, 1]


@pytest.mark.parametrize("protocol", ["tcp", "auto"])
async def test_each_direction_ends_by_itself(tmp_path: Path, protocol: str) -> None:
    async def after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())

    async with running_raw_server(after_the_end) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, protocol, between=protocol) as row:
            for said in (b"", b"x", b"a line\n"):
                if protocol == "auto" and not said:
                    continue
                async with connected(row.port) as (reader, writer):
                    writer.write(said)
                    writer.write_eof()
                    assert await reader.read() == b"heard " + said


async def test_a_cut_is_passed_on(tmp_path: Path) -> None:
    begun, lost = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"c":
            cut(writer)
            return
        begun.set()
        try:
            await reader.read()
        except ConnectionError:
            lost.set()

    async with running_raw_server(converse) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, "tcp", between="tcp") as row:
            async with connected(row.port) as (reader, writer):
                writer.write(b"c")
                with pytest.raises(ConnectionError):
                    await reader.read()
            async with connected(row.port) as (_, writer):
                writer.write(b"x")
                await begun.wait()
                cut(writer)
                await asyncio.wait_for(lost.wait(), TIMEOUT_S)
            closed = "mesh_tcp_connections_closed_total"
            assert [await metric(row.caller, closed, flag=flag) for flag in ("UC", "DC")] == [1, 1]


async def test_who_cannot_be_connected_to_is_passed_over(tmp_path: Path) -> None:
    async with running_raw_server(echo) as port:
        addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"]
        mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("db", *addresses, protocol="tcp"))
        async with running_sidecar(None, "--config", str(mesh), "--outbound", "db=:0") as sidecar:
            for _ in range(10):
                async with connected(sidecar.port("outbound:db")) as (reader, writer):
                    writer.write(b"there")
                    assert await reader.readexactly(5) == b"there"
            assert await metric(sidecar, "mesh_retries_total", service="db.default") > 0


async def test_when_nobody_takes_the_connection_it_is_closed(tmp_path: Path) -> None:
    mesh = documents.write(
        tmp_path / "mesh.yaml", documents.endpoints("db", f"127.0.0.1:{free_port()}", protocol="tcp")
    )
    async with running_sidecar(None, "--config", str(mesh), "--outbound", "db=:0") as sidecar:
        async with connected(sidecar.port("outbound:db")) as (reader, _):
            with pytest.raises(ConnectionError):
                await reader.readexactly(1)
        assert await metric(sidecar, "mesh_tcp_connections_closed_total", flag="UF", service="db.default") == 1


async def test_a_drain_lets_connections_end(tmp_path: Path) -> None:
    async with running_raw_server(echo) as port:
        async with running_sidecar(f"127.0.0.1:{port}", "--protocol", "tcp") as sidecar:
            async with connected(sidecar.port("inbound")) as (reader, writer):
                writer.write(b"a")
                assert await reader.readexactly(1) == b"a"
                stopping = asyncio.create_task(sidecar.stop())
                await until(lambda: b"draining" in sidecar.errors)
                writer.write(b"b")
                assert await reader.readexactly(1) == b"b"
                assert not stopping.done()
                writer.write_eof()
                assert await reader.read() == b""
            assert await stopping == 0


async def test_the_port_of_all_protocols(tmp_path: Path) -> None:
    """HTTP/1.1 and HTTP/2 are requests, TLS passes unread, and so does all else; in one piece or in many."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        while first.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            first = await reader.read(65536)
        writer.write(first)
        await echo(reader, writer)

    async with running_raw_server(converse) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, "auto") as row:
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{row.port}/") as response:
                assert await response.text() == "hello"
            for said in (b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"hi", b"\0\1\2\3"):
                async with connected(row.port) as (reader, writer):
                    writer.write(said)
                    assert await reader.readexactly(len(said)) == said
            async with connected(row.port) as (reader, writer):
                for byte in b"GET / HTTP/1.1\r\nHost: app\r\n\r\n":
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
            assert await detected(row, protocol="tcp", by="first bytes") == [4, 4]
            assert await metric(row.callee, "mesh_requests_total", status="2xx") == 2


@pytest.mark.parametrize("protocol", ["http1", "h2", "grpc"])
async def test_a_port_that_is_declared_to_speak_http_takes_nothing_else(tmp_path: Path, protocol: str) -> None:
    """No guess is made: what is no HTTP is a bad request, by the first sidecar already."""
    heard = b""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += await reader.read()

    async with running_raw_server(listen) as port:
        own = ("--health", "tcp")
        async with running_row(f"127.0.0.1:{port}", tmp_path, protocol, between=protocol, callee=own) as row:
            for entry in (row.port, row.callee.port("inbound")):
                for said in (b"*1\r\n$4\r\nPING\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
                    async with connected(entry) as (reader, writer):
                        writer.write(said)
                        writer.write_eof()
                        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            for sidecar in (row.caller, row.callee):
                assert await metric(sidecar, "mesh_requests_total", flag="DPE", status="4xx") == 2
                assert await metric(sidecar, "mesh_tcp_connections_opened_total") == 0
            assert await detected(row) == [0, 0]
    assert heard == b""


async def test_http2_is_found_out_too(tmp_path: Path) -> None:
    async def answer(call: Call) -> None:
        call.send_headers([(b":status", b"204")], end=True)

    async with h2_server(answer) as app, running_row(app.address, tmp_path, "auto") as row:
        async with h2_client(row.port) as client:
            assert (await client.request(request_headers()).finish()).status == 204
        assert await detected(row, protocol="h2") == [1, 1]


async def test_tls_passes_unread_and_its_server_name_is_known(tmp_path: Path) -> None:
    async with https_server(tmp_path) as (port, ca), running_row(f"127.0.0.1:{port}", tmp_path, "auto") as row:
        context = ssl.create_default_context(cafile=str(ca))
        async with aiohttp.ClientSession() as client:
            url, named = f"https://127.0.0.1:{row.port}/", "localhost"
            async with client.get(url, ssl=context, server_hostname=named, headers={"host": "x"}) as response:
                assert await response.text() == "https x 0"
            async with client.get(row.callee.url("admin") + "/detection") as response:
                page = await response.json()
        assert page["inbound"]["server_names"] == {"localhost": 1}
        assert await detected(row, protocol="tls") == [1, 1]
        assert await metric(row.callee, "mesh_tcp_connections_opened_total", kind="tls") == 1


async def test_tls_on_the_port_of_all_services_goes_where_its_server_name_says(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("shop").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = await asyncio.start_server(echo_tls, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("shop", f"127.0.0.1:{port}"))
    arguments = ("--config", str(mesh), "--outbound-policy", "registry-only")
    async with server, running_sidecar(None, *arguments) as sidecar, asyncio.timeout(TIMEOUT_S):
        outbound = sidecar.port("outbound")
        reader, writer = await asyncio.open_connection("127.0.0.1", outbound, ssl=client, server_hostname="shop")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection("127.0.0.1", outbound, ssl=client, server_hostname="other.example")
        opened = "mesh_tcp_connections_opened_total"
        assert await metric(sidecar, opened, service="shop.default", kind="tls") == 1
        assert await metric(sidecar, "mesh_tcp_connections_closed_total", service="passthrough", flag="NR") == 1


async def echo_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    await reader.read()
    writer.close()


async def test_a_server_that_speaks_first_is_waited_for_once(tmp_path: Path) -> None:
    """The first connection waits out the silence at each sidecar, the next ones do not."""
    async with running_raw_server(greet) as port, running_row(f"127.0.0.1:{port}", tmp_path, "auto") as row:
        took = []
        for number in range(6):
            started = time.monotonic()
            async with connected(row.port) as (reader, writer):
                assert await reader.readexactly(len(GREETING)) == GREETING
                took.append(time.monotonic() - started)
                writer.write(b"EHLO %d\r\n" % number)
                assert await reader.readline() == b"250 EHLO %d\r\n" % number
        assert took[0] < PATIENCE_S
        assert min(took[1:]) < took[0] / 2
        assert await detected(row, protocol="tcp", by="server first") == [6, 6]
        async with aiohttp.ClientSession() as client, client.get(row.caller.url("admin") + "/detection") as response:
            page = (await response.json())["outbound:app"]
        assert (page["speaks_first"], page["silence_s"]) == ("server", 0)


async def test_a_declared_server_that_speaks_first_is_not_waited_for(tmp_path: Path) -> None:
    async with running_raw_server(greet) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, "tcp", between="tcp") as row:
            async with connected(row.port) as (reader, _):
                assert await reader.readexactly(len(GREETING)) == GREETING
            assert await detected(row, protocol="tcp", by="declared") == [1, 1]
            assert await detected(row, by="server first") == [0, 0]


@pytest.mark.parametrize("version", [1, 2])
async def test_http_after_a_long_silence_is_http_all_the_same(tmp_path: Path, version: int) -> None:
    """As browsers connect ahead. A server of HTTP/2 even says its settings meanwhile."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="late")

    async def serve(call: Call) -> None:
        call.send_headers([(b":status", b"204")], end=True)

    async def until_tried(sidecar: Command) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await metric(sidecar, "mesh_tcp_connections_opened_total", kind="tcp"):
                await asyncio.sleep(0.02)

    app = running_backend(answer) if version == 1 else h2_server(serve)
    async with app as running, running_sidecar(running.address) as sidecar:
        port = sidecar.port("inbound")
        if version == 1:
            async with connected(port) as (reader, writer):
                await until_tried(sidecar)
                writer.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                assert (await reader.readuntil(b"late")).startswith(b"HTTP/1.1 200 ")
        else:
            async with connected(port) as (reader, writer):
                await until_tried(sidecar)
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                assert (await reader.readexactly(9))[3] == 4
        async with aiohttp.ClientSession() as client, client.get(sidecar.url("admin") + "/detection") as response:
            page = (await response.json())["inbound"]
        assert (page["speaks_first"], page["silence_s"]) == ("client", None)
        assert await metric(sidecar, "mesh_detected_connections_total", by="server first") == 0


async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that speaks first, says everything back, leaves or cuts, as it pleases."""
    if random.random() < 0.3:
        writer.write(GREETING)
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
        if random.random() < 0.2:
            return
        if random.random() < 0.2:
            cut(writer)
            return


async def call(port: int) -> None:
    """A client that says something or nothing, and ends in one way or another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = random.choice((b"", b"", b"x\n", bytes(200_000), b"GET / HT", b"\x16\x03\x01\x02\x00\x01"))
    writer.write(said)
    with suppress(ConnectionError, TimeoutError):
        if random.random() < 0.3:
            writer.write_eof()
        async with asyncio.timeout(random.choice((0, 0, 0.3))):
            while await reader.read(65536):
                pass
    if random.random() < 0.5 and not writer.transport.is_closing():
        cut(writer)
    writer.close()


@pytest.mark.parametrize("protocol", ["auto", "tcp"])
async def test_nothing_is_left_of_connections_that_end_in_any_way(tmp_path: Path, protocol: str) -> None:
    async with running_raw_server(moody) as port, asyncio.timeout(60):
        async with running_row(f"127.0.0.1:{port}", tmp_path, protocol, between=protocol) as row:
            for _ in range(8):
                await asyncio.gather(*(call(row.port) for _ in range(40)))
            for sidecar, listener in ((row.caller, "outbound:app"), (row.callee, "inbound")):
                opened, closed = "mesh_tcp_connections_opened_total", "mesh_tcp_connections_closed_total"
                while await metric(sidecar, opened) != await metric(sidecar, closed):
                    await asyncio.sleep(0.05)
                assert await metric(sidecar, opened) > 30
                if protocol == "tcp":
                    assert await metric(sidecar, "mesh_connections", listener=listener) == 0
