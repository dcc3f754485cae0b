"""The outbound port as a forward proxy: CONNECT and absolute-form, by curl, aiohttp, h2 and raw sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import https_server, running_backend, running_raw_server
from tests.support.h2_peer import h2_client
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar

TIMEOUT_S = 20


@asynccontextmanager
async def proxying(tmp_path: Path, *arguments: str, services: dict[str, str] | None = None) -> AsyncIterator[Command]:
    """A sidecar that only calls; `services` are the mesh: name → address."""
    known = [documents.endpoints(name, address) for name, address in (services or {"nobody": "127.0.0.1:1"}).items()]
    mesh = documents.write(tmp_path / "mesh.yaml", *known)
    async with running_sidecar(None, "--config", str(mesh), *arguments) as sidecar:
        yield sidecar


async def curl(*arguments: str) -> tuple[int, str, str]:
    """(exit status, what it printed, what it complained of)."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-m", str(TIMEOUT_S), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


async def say_host(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"{request.host} {request.raw_path}")


async def test_https_goes_through_it_unread(tmp_path: Path) -> None:
    async with https_server(tmp_path) as (port, ca), proxying(tmp_path) as sidecar:
        proxy, url = sidecar.url("outbound"), f"https://localhost:{port}/a"
        status, out, _ = await curl("--cacert", str(ca), "-x", proxy, "-d", "x" * 100_000, url)
        assert (status, out) == (0, f"https localhost:{port} 100000")
        context = ssl.create_default_context(cafile=str(ca))
        async with aiohttp.ClientSession() as client:
            async with client.get(url, proxy=proxy, ssl=context) as response:
                assert await response.text() == f"https localhost:{port} 0"
        labels = {"kind": "connect", "service": "passthrough", "direction": "outbound"}
        assert await metric(sidecar, "mesh_tcp_connections_opened_total", **labels) == 2
        assert await metric(sidecar, "mesh_tcp_received_bytes_total", **labels) > 100_000
        assert await metric(sidecar, "mesh_requests_total", method="CONNECT", status="2xx") == 2


async def test_plain_http_in_a_tunnel_and_in_absolute_form(tmp_path: Path) -> None:
    async with running_backend(say_host) as app, proxying(tmp_path, services={"shop": app.address}) as sidecar:
        proxy = sidecar.url("outbound")
        for tunnel in ((), ("--proxytunnel",)):
            for host in ("shop", f"127.0.0.1:{app.port}"):
                status, out, errors = await curl(*tunnel, "-x", proxy, f"http://{host}/a?b=c")
                assert (status, out) == (0, f"{host} /a?b=c"), errors
        assert await metric(sidecar, "mesh_tcp_connections_opened_total", service="shop.default", kind="connect") == 1
        assert await metric(sidecar, "mesh_requests_total", service="shop.default", method="GET") == 1


@pytest.mark.parametrize("protocol", ["auto", "http1"])
async def test_a_service_behind_a_sidecar_of_its_own(tmp_path: Path, protocol: str) -> None:
    """What goes through the tunnel is opaque to the caller's sidecar, and a request to the one before the app."""
    async with running_backend(say_host) as app, running_sidecar(app.address, "--protocol", protocol) as own:
        async with proxying(tmp_path, services={"shop": own.address("inbound")}) as sidecar:
            for tunnel in ((), ("--proxytunnel",)):
                answer = await curl(*tunnel, "-x", sidecar.url("outbound"), "http://shop/a", "-d", "x" * 100_000)
                assert answer == (0, "shop /a", "")
            assert await metric(sidecar, "mesh_requests_total", service="shop.default", method="POST") == 1
            assert await metric(sidecar, "mesh_tcp_received_bytes_total", service="shop.default") > 100_000
        assert await metric(own, "mesh_requests_total", method="POST", status="2xx") == 2
        assert await metric(own, "mesh_tcp_connections_opened_total") == 0


async def test_hosts_outside_the_mesh_are_refused_if_that_is_the_policy(tmp_path: Path) -> None:
    async with running_backend(say_host) as app:
        services = {"shop": app.address}
        async with proxying(tmp_path, "--outbound-policy", "registry-only", services=services) as sidecar:
            proxy = sidecar.url("outbound")
            _, out, errors = await curl("--proxytunnel", "-x", proxy, f"http://127.0.0.1:{app.port}/")
            assert out == ""
            assert "502" in errors
            assert await curl("--proxytunnel", "-x", proxy, "http://shop/") == (0, "shop /", "")
            labels = {"method": "CONNECT", "status": "5xx", "flag": "NR"}
            assert await metric(sidecar, "mesh_requests_total", **labels) == 1


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [("127.0.0.1:{own}", 508, "loop"), ("127.0.0.1:{dead}", 503, "connect_failure"), ("a:99999", 400, "bad_authority")],
)
async def test_a_tunnel_that_cannot_be_is_answered(tmp_path: Path, target: str, status: int, code: str) -> None:
    async with proxying(tmp_path) as sidecar, asyncio.timeout(TIMEOUT_S):
        authority = target.format(own=sidecar.port("outbound"), dead=free_port())
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("outbound"))
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert f"x-mesh-error: {code}" in head
        writer.close()


async def test_each_direction_of_a_tunnel_ends_by_itself(tmp_path: Path) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first\n")
        writer.write(b"heard " + await reader.read())

    async with running_raw_server(converse) as port, proxying(tmp_path) as sidecar, asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("outbound"))
        # Bytes behind the head are the tunnel's, even before there is an answer.
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nearly".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readline() == b"first\n"
        writer.write(b" bird")
        writer.write_eof()
        assert await reader.read() == b"heard early bird"
        writer.close()


async def test_connect_by_http2(tmp_path: Path) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())

    async with (
        running_raw_server(converse) as port,
        proxying(tmp_path) as sidecar,
        h2_client(sidecar.port("outbound")) as client,
    ):
        calls = [
            client.request([(b":method", b"CONNECT"), (b":authority", b"127.0.0.1:%d" % port)], end=False)
            for _ in range(3)
        ]
        for number, call in enumerate(calls):
            await call.send_data(b"%d" % number * 100_000, end=True)
        for number, call in enumerate(calls):
            await call.finish()
            assert (call.status, call.ended) == (200, True)
            assert call.data == b"heard " + b"%d" % number * 100_000
