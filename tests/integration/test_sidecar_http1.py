"""HTTP/1.1 through a real sidecar: aiohttp and raw sockets on both sides judge what it does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import running_backend, running_raw_server
from tests.support.mesh import metric
from tests.support.process import Command, running_sidecar

TIMEOUT_S = 20


async def echo(request: web.Request) -> web.StreamResponse:
    """Says what it was asked."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "headers": [(name, value) for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


async def raw_exchange(port: int, data: bytes, *, until: bytes = b"") -> bytes:
    """What comes back for `data`: until `until` is there, or the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = b""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not (until and until in answer):
                chunk = await reader.read(65536)
                if not chunk:
                    break
                answer += chunk
    finally:
        await close(writer)
    return answer


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def counted(sidecar: Command, **labels: str) -> float:
    return await metric(sidecar, "mesh_requests_total", **labels)


async def test_inbound_passes_requests_to_the_app_and_adds_a_trace() -> None:
    async with running_backend(echo) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        async with client.post(sidecar.url("inbound") + "/a%20b?c=d", data=b"hi", headers={"X-One": "1"}) as response:
            said = await response.json()
        assert (said["method"], said["path"], said["body"]) == ("POST", "/a%20b?c=d", "hi")
        headers = {name.lower(): value for name, value in said["headers"]}
        assert headers["host"] == sidecar.address("inbound")
        assert headers["x-one"] == "1"
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", headers["traceparent"])
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers["x-request-id"])
        assert await counted(sidecar, direction="inbound", method="POST", status="2xx") == 1


async def test_a_trace_is_continued_with_a_new_span() -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = {"traceparent": f"00-{trace}-{span}-01", "tracestate": "v=1", "x-request-id": "mine", "x-b3-traceid": "b"}
    async with running_backend(echo) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        async with client.get(sidecar.url("inbound"), headers=sent) as response:
            headers = {name.lower(): value for name, value in (await response.json())["headers"]}
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", trace, "01")
    assert span_id != span
    assert (headers["tracestate"], headers["x-request-id"], headers["x-b3-traceid"]) == ("v=1", "mine", "b")


async def test_bodies_stream_both_ways_unharmed() -> None:
    size = 8 * 1024 * 1024
    block = bytes(range(256)) * 256

    async def digest(request: web.Request) -> web.StreamResponse:
        seen = hashlib.sha256()
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            seen.update(chunk)
            await response.write(chunk)
        await response.write_eof()
        request.app_digest = seen.hexdigest()  # type: ignore[attr-defined]
        return response

    async def produce():  # type: ignore[no-untyped-def]
        for _ in range(size // len(block)):
            yield block

    async with (
        running_backend(digest) as app,
        running_sidecar(app.address) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        received = hashlib.sha256()
        async with client.post(sidecar.url("inbound"), data=produce()) as response:
            async for chunk in response.content.iter_any():
                received.update(chunk)
        expected = hashlib.sha256(block * (size // len(block))).hexdigest()
        assert received.hexdigest() == expected
        assert app.requests[0].app_digest == expected  # type: ignore[attr-defined]


async def test_a_slow_reader_holds_the_upstream_back() -> None:
    """The upstream can hand over only what the buffers on the way hold, not the 64 MiB that it has."""
    total = 64 * 1024 * 1024
    sent = 0
    stalled = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(bytes(65536))
            try:
                await asyncio.wait_for(writer.drain(), 1.0)
            except TimeoutError:
                stalled.set()
                await writer.drain()
            sent += 65536

    async with running_raw_server(pour) as port, running_sidecar(f"127.0.0.1:{port}") as sidecar:
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"), limit=4096)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            await stalled.wait()
        assert sent < 24 * 1024 * 1024, "kernel buffers of two connections, not the whole body"
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readexactly(total)
        await close(writer)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_methods(method: str) -> None:
    async with running_backend(echo) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        for _ in range(2):
            async with client.request(method, sidecar.url("inbound") + "/m") as response:
                assert response.status == 200
                assert int(response.headers["Content-Length"]) > 0
        assert [request.method for request in app.requests] == [method, method]


async def test_expect_continue_goes_end_to_end() -> None:
    """The client sends its body only when the app, not the sidecar, has said 100 Continue."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"expect: 100-continue" in head.lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)
        await writer.drain()

    async with running_raw_server(accept) as port, running_sidecar(f"127.0.0.1:{port}") as sidecar:
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"hello"
        await close(writer)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def numbered(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"<{request.path}>")

    async with running_backend(numbered) as app, running_sidecar(app.address) as sidecar:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20))
        answer = await raw_exchange(sidecar.port("inbound"), requests, until=b"</19>")
    assert re.findall(rb"</(\d+)>", answer) == [b"%d" % number for number in range(20)]


async def test_outbound_by_host_by_proxy_and_by_a_port_of_its_own(tmp_path: Path) -> None:
    async def who(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.headers['Host']}{request.path}")

    async with running_backend(who) as orders:
        config = documents.write(tmp_path / "mesh.yaml", documents.endpoints("orders", orders.address))
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with running_sidecar(orders.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            outbound = sidecar.url("outbound")
            for host in ("orders", "orders.default", "orders.default.svc.cluster.local:80", "ORDERS"):
                async with client.get(outbound + "/x", headers={"Host": host}) as response:
                    assert await response.text() == f"{host}/x"
            async with client.get("http://orders/y", proxy=outbound) as response:
                assert await response.text() == "orders/y"
            async with client.get(sidecar.url("outbound:orders") + "/z") as response:
                assert (await response.text()).endswith("/z")
            assert await counted(sidecar, direction="outbound", service="orders.default") == 6


async def test_routes_by_path_and_weights(tmp_path: Path) -> None:
    def named(name: str):  # type: ignore[no-untyped-def]
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(text=name)

        return answer

    async with (
        running_backend(named("v1")) as v1,
        running_backend(named("v2")) as v2,
        running_backend(named("a")) as admin,
    ):
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop-v1", v1.address),
            documents.endpoints("shop-v2", v2.address),
            documents.endpoints("admin", admin.address),
            documents.http_route(
                "shop",
                {"matches": [{"path": {"type": "PathPrefix", "value": "/admin"}}], "backendRefs": [{"name": "admin"}]},
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/products"}}],
                    "backendRefs": [{"name": "shop-v1", "weight": 3}, {"name": "shop-v2", "weight": 1}],
                },
            ),
        )
        flags = ("--config", str(config), "--outbound", "shop=127.0.0.1:0")
        async with running_sidecar(v1.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            shop = sidecar.url("outbound:shop")

            async def ask(path: str) -> tuple[int, str]:
                async with client.get(shop + path) as response:
                    return response.status, await response.text()

            assert await ask("/admin") == await ask("/admin/x?y") == (200, "a")
            status, text = await ask("/adminx")
            assert status == 404
            assert '"code": "no_route"' in text
            seen = Counter([(await ask("/products/1"))[1] for _ in range(400)])
            # 400 draws at 1/4: 100 ± 5 standard deviations of 8.7.
            assert 56 <= seen["v2"] <= 144
            assert seen["v1"] + seen["v2"] == 400


async def test_a_refused_connection_is_tried_elsewhere_even_for_post(tmp_path: Path) -> None:
    async def free_port() -> int:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return port

    async with running_backend(echo) as alive:
        config = documents.write(
            tmp_path / "mesh.yaml", documents.endpoints("orders", f"127.0.0.1:{await free_port()}", alive.address)
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with running_sidecar(alive.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            for number in range(20):
                async with client.post(sidecar.url("outbound:orders"), data=f"{number}") as response:
                    assert response.status == 200
                    assert (await response.json())["body"] == f"{number}"
        assert len(alive.requests) == 20


@pytest.mark.parametrize(("method", "executions", "status"), [("GET", 3, 503), ("POST", 1, 503)])
async def test_a_reset_is_retried_only_where_that_is_safe(
    tmp_path: Path, method: str, executions: int, status: int
) -> None:
    executed = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal executed
        await reader.readuntil(b"\r\n\r\n")
        executed += 1
        writer.transport.abort()

    async with running_raw_server(die) as port:
        config = documents.write(tmp_path / "mesh.yaml", documents.endpoints("orders", f"127.0.0.1:{port}"))
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with running_sidecar(f"127.0.0.1:{port}", "--health", "tcp", *flags) as sidecar:
            async with (
                aiohttp.ClientSession() as client,
                client.request(method, sidecar.url("outbound:orders")) as response,
            ):
                assert response.status == status
                assert response.headers["x-mesh-error"] == "upstream_reset"
                assert response.content_type == "application/problem+json"
                problem = await response.json(content_type=None)
    assert problem["code"] == "upstream_reset"
    assert problem["request_id"]
    assert executed == executions


async def test_503_is_retried_on_the_other_endpoint_for_get_only(tmp_path: Path) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=503, text="busy")

    async def fine(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(text="fine")

    async with running_backend(busy) as one, running_backend(fine) as two:
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("orders", one.address, two.address),
            documents.traffic_policy("orders", balancer={"type": "RoundRobin"}, outlier={"consecutiveFailures": 0}),
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with running_sidecar(two.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            url = sidecar.url("outbound:orders")

            async def ask(method: str) -> int:
                async with client.request(method, url, data=b"x" if method == "POST" else None) as response:
                    await response.read()
                    return response.status

            assert [await ask("GET") for _ in range(10)] == [200] * 10
            assert Counter([await ask("POST") for _ in range(10)]) == {200: 5, 503: 5}


async def test_a_request_that_takes_too_long_is_answered_504(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with running_backend(hang) as slow:
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("slow", slow.address),
            documents.traffic_policy("slow", timeouts={"request": "200ms"}),
        )
        flags = ("--config", str(config), "--outbound", "slow=127.0.0.1:0")
        async with running_sidecar(slow.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            async with client.get(sidecar.url("outbound:slow")) as response:
                assert (response.status, response.headers["x-mesh-error"]) == (504, "timeout")
            assert await counted(sidecar, flag="UT", service="slow.default") == 1
        release.set()


async def test_a_client_that_goes_takes_its_request_with_it() -> None:
    gone = asyncio.Event()
    there = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await reader.read(1):
            return  # the health check's connection
        await reader.readuntil(b"\r\n\r\n")
        there.set()
        await reader.read()
        gone.set()

    async with running_raw_server(hang) as port, running_sidecar(f"127.0.0.1:{port}") as sidecar:
        _, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        async with asyncio.timeout(TIMEOUT_S):
            await there.wait()
            await close(writer)
            await gone.wait()


async def test_sigterm_lets_live_requests_finish_and_exits_0() -> None:
    arrived = asyncio.Event()
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await release.wait()
        return web.Response(text="done")

    async with running_backend(slow) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        asked = asyncio.create_task(client.get(sidecar.url("inbound")))
        async with asyncio.timeout(TIMEOUT_S):
            await arrived.wait()
            sidecar.process.terminate()
            async with client.get(sidecar.url("metrics") + "/healthz/ready") as ready:
                while ready.status == 200:
                    async with client.get(sidecar.url("metrics") + "/healthz/ready") as ready:
                        pass
            release.set()
            response = await asked
            assert await response.text() == "done"
        assert await sidecar.finish() == 0
        assert b"Traceback" not in sidecar.errors


async def test_an_app_that_closes_idle_connections_costs_no_error() -> None:
    """A connection that the app closed after its answer, without saying so, is not used again."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with running_raw_server(answer_once) as port, running_sidecar(f"127.0.0.1:{port}") as sidecar:
        async with aiohttp.ClientSession() as client:
            for _ in range(50):
                async with client.get(sidecar.url("inbound")) as response:
                    assert (response.status, await response.text()) == (200, "ok")
