"""Limits and breakers of a TrafficPolicy, through a real sidecar, before apps that fail on script."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.mesh import metric
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until_async

NO_RETRIES = {"attempts": 0}
NO_EJECTION = {"consecutiveFailures": 0}


class App:
    """Answers 500 while it is told to. Requests for /held wait, and so does the rest of /stream, until it may go on."""

    def __init__(self) -> None:
        self.fails = False
        self.go_on = asyncio.Event()
        self.backend: Backend

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/held":
            await self.go_on.wait()
        if request.path == "/stream":
            stream = web.StreamResponse()
            await stream.prepare(request)
            await stream.write(b"first")
            await self.go_on.wait()
            return stream
        return web.Response(status=500 if self.fails else 200)

    @property
    def asked(self) -> int:
        return len(self.backend.requests)


class Asking:
    """A client of `shop` by a sidecar."""

    def __init__(self, sidecar: Command, client: aiohttp.ClientSession, apps: list[App]) -> None:
        self.sidecar = sidecar
        self.apps = apps
        self._client = client
        self._url = sidecar.url("outbound:shop")

    async def ask(self, path: str = "/", method: str = "GET") -> tuple[int, str | None, Any]:
        """Status, code of the mesh, and the whole answer."""
        async with self._client.request(method, self._url + path) as response:
            await response.read()
            return response.status, response.headers.get("x-mesh-error"), response

    async def codes(self, count: int) -> Counter[tuple[int, str | None]]:
        """What so many requests get, one after another."""
        return Counter([(await self.ask())[:2] for _ in range(count)])

    async def cluster(self) -> dict[str, Any]:
        async with self._client.get(self.sidecar.url("admin") + "/clusters") as response:
            found: list[dict[str, Any]] = await response.json()
            return next(cluster for cluster in found if cluster["name"] == "shop.default")

    async def until_breaker(self, state: str) -> None:
        async def reached() -> bool:
            return (await self.cluster())["breaker"] == state

        await until_async(reached)


@asynccontextmanager
async def asking(tmp_path: Path, *flags: str, apps: int = 1, **spec: Any) -> AsyncIterator[Asking]:
    async with AsyncExitStack() as stack:
        made = [App() for _ in range(apps)]
        for app in made:
            app.backend = await stack.enter_async_context(running_backend(app.answer))
            stack.callback(app.go_on.set)
        policy = documents.traffic_policy("shop", **{"retry": NO_RETRIES, "outlier": NO_EJECTION, **spec})
        addresses = [app.backend.address for app in made]
        mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("shop", *addresses), policy)
        sidecar = await stack.enter_async_context(
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0", *flags)
        )
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Asking(sidecar, client, made)


async def test_a_breaker_opens_lets_one_probe_through_and_closes(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "failures": 5, "sleep": "400ms"}
    async with asking(tmp_path, breaker=breaker) as shop:
        app = shop.apps[0]
        app.fails = True
        assert await shop.codes(20) == {(500, None): 5, (503, "breaker_open"): 15}
        assert app.asked == 5
        _, _, answer = await shop.ask()
        assert answer.headers["retry-after"] == "1"
        assert "spec.breaker of TrafficPolicy default/shop" in (await _problem(shop))
        await shop.until_breaker("half-open")
        held = asyncio.create_task(shop.ask("/held"))
        await until_async(lambda: _is(app.asked == 6))
        assert await shop.codes(5) == {(503, "breaker_open"): 5}
        app.go_on.set()
        assert (await held)[0] == 500
        assert (await shop.cluster())["breaker"] == "open"
        app.fails = False
        await shop.until_breaker("half-open")
        assert await shop.codes(10) == {(200, None): 10}
        assert app.asked == 16
        assert await metric(shop.sidecar, "mesh_breaker_transitions_total", service="shop.default", state="open") == 2
        assert await metric(shop.sidecar, "mesh_breaker_transitions_total", state="half-open") == 2
        assert await metric(shop.sidecar, "mesh_breaker_transitions_total", state="closed") == 1
        assert await metric(shop.sidecar, "mesh_breaker_state", service="shop.default", endpoint="") == 0
        assert await metric(shop.sidecar, "mesh_requests_total", flag="UO") == 22


async def test_a_stream_that_goes_on_closes_it(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "failures": 2, "sleep": "200ms"}
    async with asking(tmp_path, breaker=breaker) as shop, aiohttp.ClientSession() as client:
        app = shop.apps[0]
        app.fails = True
        assert await shop.codes(2) == {(500, None): 2}
        app.fails = False
        await shop.until_breaker("half-open")
        async with client.get(shop.sidecar.url("outbound:shop") + "/stream") as stream:
            assert await stream.content.readany() == b"first"
            await shop.until_breaker("closed")
            assert await shop.codes(5) == {(200, None): 5}
            app.go_on.set()
            assert await stream.read() == b""


async def _is(value: bool) -> bool:
    return value


async def _problem(shop: Asking) -> str:
    async with aiohttp.ClientSession() as client, client.get(shop.sidecar.url("outbound:shop")) as response:
        detail: str = (await response.json(content_type=None))["detail"]
        return detail


async def test_a_ratio_needs_its_volume(tmp_path: Path) -> None:
    breaker = {"type": "ErrorRatio", "volume": 10, "errorPercent": 50, "sleep": "60s", "window": "60s"}
    async with asking(tmp_path, breaker=breaker) as shop:
        app = shop.apps[0]
        assert await shop.codes(5) == {(200, None): 5}
        app.fails = True
        assert await shop.codes(10) == {(500, None): 5, (503, "breaker_open"): 5}
        assert app.asked == 10


async def test_retries_stop_when_the_breaker_opens(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "failures": 4, "sleep": "60s"}
    retry = {"attempts": 2, "codes": [500], "backoff": {"base": "1ms"}}
    async with asking(tmp_path, breaker=breaker, retry=retry) as shop:
        shop.apps[0].fails = True
        # Three tries, then one whose failure opens the breaker: its own answer is passed on.
        assert await shop.codes(3) == {(500, None): 2, (503, "breaker_open"): 1}
        assert shop.apps[0].asked == 4
        assert await metric(shop.sidecar, "mesh_retries_total") == 2


async def test_in_shadow_mode_nothing_is_refused(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "failures": 5, "sleep": "60s", "enforcement": "Shadow"}
    async with asking(tmp_path, breaker=breaker) as shop:
        shop.apps[0].fails = True
        assert await shop.codes(20) == {(500, None): 20}
        assert (await shop.cluster())["breaker"] == "open"
        assert await metric(shop.sidecar, "mesh_shadowed_total", service="shop.default", policy="breaker") == 15
        assert "the breaker is open (shadow" in shop.sidecar.errors.decode()


async def test_an_open_endpoint_is_passed_over_and_gets_its_probe(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "per": "Endpoint", "failures": 3, "sleep": "300ms"}
    async with asking(tmp_path, apps=3, breaker=breaker, balancer={"type": "RoundRobin"}) as shop:
        bad = shop.apps[0]
        bad.fails = True
        assert await shop.codes(30) == {(500, None): 3, (200, None): 27}
        states = Counter(endpoint["state"] for endpoint in (await shop.cluster())["endpoints"])
        assert states["healthy"] == 2
        assert states["open"] + states["half-open"] == 1
        assert await metric(shop.sidecar, "mesh_endpoints", service="shop.default", state="healthy") == 2

        async def half_open() -> bool:
            return "half-open" in [endpoint["state"] for endpoint in (await shop.cluster())["endpoints"]]

        await until_async(half_open)
        bad.fails = False
        assert await shop.codes(30) == {(200, None): 30}
        assert bad.asked > 5
        assert await metric(shop.sidecar, "mesh_endpoints", service="shop.default", state="healthy") == 3


async def test_when_every_endpoint_is_open_requests_are_refused(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "per": "Endpoint", "failures": 2, "sleep": "60s"}
    async with asking(tmp_path, apps=3, breaker=breaker, balancer={"type": "RoundRobin"}) as shop:
        for app in shop.apps:
            app.fails = True
        assert await shop.codes(20) == {(500, None): 6, (503, "breaker_open"): 14}
        assert [app.asked for app in shop.apps] == [2, 2, 2]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"requests": 3}, "requests_overflow"),
        ({"connections": 2, "pending": 1}, "pending_overflow"),
    ],
)
async def test_what_is_over_a_limit_is_refused_at_once(tmp_path: Path, limits: dict[str, int], code: str) -> None:
    async with asking(tmp_path, limits=limits) as shop:
        app = shop.apps[0]
        # One connection is there; those who come while another is made would wait as well.
        held = []
        for number in range(1, 4):
            held.append(asyncio.create_task(shop.ask("/held")))
            await until_async(lambda number=number: _in_flight(shop, number))
        assert await shop.codes(5) == {(503, code): 5}
        assert f"spec.limits.{code.removesuffix('_overflow')} of TrafficPolicy default/shop" in await _problem(shop)
        app.go_on.set()
        assert {(await task)[0] for task in held} == {200}
        assert await shop.codes(5) == {(200, None): 5}
        assert app.asked == 8
        assert (await shop.cluster())["requests"] == 0


async def _in_flight(shop: Asking, count: int) -> bool:
    cluster = await shop.cluster()
    at_app = cluster["requests"] - cluster["pending"] if cluster["limits"]["connections"] == 2 else cluster["requests"]
    return bool(cluster["requests"] == count and at_app >= min(count, cluster["limits"]["connections"]))


async def test_tunnels_over_the_limit_are_refused(tmp_path: Path) -> None:
    async with asking(tmp_path, limits={"connections": 1}) as shop:
        host, port = "127.0.0.1", shop.sidecar.port("outbound")
        target = b"shop.default:80"

        async def connect() -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
            return await reader.readuntil(b"\r\n\r\n"), writer

        first, one = await connect()
        second, other = await connect()
        one.close()
        other.close()
        assert first.startswith(b"HTTP/1.1 200")
        assert second.startswith(b"HTTP/1.1 503")
        assert b"connections_overflow" in second


async def test_each_worker_has_its_own_breaker_and_the_worst_is_shown(tmp_path: Path) -> None:
    breaker = {"type": "Consecutive", "failures": 3, "sleep": "60s"}
    async with asking(tmp_path, "--workers", "2", breaker=breaker) as shop:
        shop.apps[0].fails = True
        found = await shop.codes(8)  # one connection, so one worker
        assert found == {(500, None): 3, (503, "breaker_open"): 5}
        assert (await shop.cluster())["breaker"] == "open"
        assert await metric(shop.sidecar, "mesh_breaker_state", service="shop.default") == 2
        assert await metric(shop.sidecar, "mesh_breaker_transitions_total", state="open") == 1


async def test_grpc_calls_are_told_when_to_come_back(tmp_path: Path) -> None:
    async def fail(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        calls.append(1)
        await context.abort(grpc.StatusCode.INTERNAL, "no")
        raise AssertionError

    calls: list[int] = []
    server = grpc.aio.server()
    methods = {"List": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", methods),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    breaker = {"type": "Consecutive", "failures": 3, "sleep": "60s"}
    policy = documents.traffic_policy("shop", breaker=breaker, retry=NO_RETRIES)
    endpoints = documents.endpoints("shop", address, protocol="grpc")
    mesh = documents.write(tmp_path / "mesh.yaml", endpoints, policy)
    try:
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as sidecar,
            grpc.aio.insecure_channel(sidecar.address("outbound:shop")) as channel,
        ):
            found: list[grpc.aio.AioRpcError] = []
            for _ in range(6):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await channel.unary_unary("/shop.Orders/List")(b"")
                found.append(raised.value)
    finally:
        await server.stop(None)
    assert [error.code().name for error in found] == ["INTERNAL"] * 3 + ["UNAVAILABLE"] * 3
    assert len(calls) == 3
    assert "spec.breaker of TrafficPolicy default/shop" in (found[-1].details() or "")
    metadata = dict(found[-1].trailing_metadata() or ())
    assert metadata["x-mesh-error"] == "breaker_open"
    assert 50_000 < int(metadata["grpc-retry-pushback-ms"]) <= 60_000
