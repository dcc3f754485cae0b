"""Active health checks of a TrafficPolicy, through a real sidecar, before servers that fail on script."""

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
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.mesh import metric
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until, until_async
from tests.support.workers import kill_and_wait, workers

FAST = {"interval": "50ms", "timeout": "500ms", "healthyAfter": 2, "unhealthyAfter": 2}
PLAIN = {"outlier": {"consecutiveFailures": 0}, "balancer": {"type": "RoundRobin"}}


class App:
    """Says how it is at /healthz, and remembers from which ports it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.ports: list[int] = []
        self.asked = 0
        self.backend: Backend

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/healthz":
            self.asked += 1
            return web.Response(text="hello")
        assert request.transport is not None
        self.ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(status=self.status, text="how it is")


class Asking:
    def __init__(self, sidecar: Command, client: aiohttp.ClientSession, addresses: list[str]) -> None:
        self.sidecar = sidecar
        self._addresses = addresses
        self._client = client

    async def states(self) -> list[str]:
        """Of the endpoints, in the order of the document."""
        return [endpoint["state"] for endpoint in await self.endpoints()]

    async def endpoints(self) -> list[dict[str, Any]]:
        async with self._client.get(self.sidecar.url("admin") + "/clusters") as response:
            found = await response.json()
        endpoints: list[dict[str, Any]] = next(one for one in found if one["name"] == "shop.default")["endpoints"]
        return sorted(endpoints, key=lambda one: self._addresses.index(f"{one['address']}:{one['port']}"))

    async def until_states(self, *states: str) -> None:
        async def reached() -> bool:
            return await self.states() == list(states)

        await until_async(reached)

    async def ask(self, count: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for _ in range(count):
            async with self._client.get(self.sidecar.url("outbound:shop")) as response:
                found[response.status] += 1
        return found


@asynccontextmanager
async def asking(
    tmp_path: Path, health: dict[str, Any], addresses: list[str], *flags: str, **fields: Any
) -> AsyncIterator[Asking]:
    policy = documents.traffic_policy("shop", health=health, **PLAIN)
    mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("shop", *addresses, **fields), policy)
    async with (
        running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0", *flags) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        yield Asking(sidecar, client, addresses)


@asynccontextmanager
async def running_apps(count: int) -> AsyncIterator[list[App]]:
    async with AsyncExitStack() as stack:
        apps = [App() for _ in range(count)]
        for app in apps:
            app.backend = await stack.enter_async_context(running_backend(app.answer))
        yield apps


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_an_endpoint_that_fails_its_checks_is_left_out_until_it_passes_them(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    async with running_apps(3) as apps:
        health = {"type": "HTTP", "path": "/healthz", **FAST}
        async with asking(tmp_path, health, [app.backend.address for app in apps], *flags) as shop:
            await until(lambda: all(len(app.ports) >= 2 for app in apps))
            apps[1].status = 503
            await shop.until_states("healthy", "check-failed", "healthy")
            assert (await shop.endpoints())[1]["check_fault"] == "The endpoint answered 503 to /healthz."
            assert await metric(shop.sidecar, "mesh_endpoints", service="shop.default", state="check-failed") == 1
            assert await shop.ask(30) == {200: 30}
            assert (apps[1].asked, apps[0].asked + apps[2].asked) == (0, 30)
            apps[1].status = 200
            await shop.until_states("healthy", "healthy", "healthy")
            assert await shop.ask(30) == {200: 30}
            assert apps[1].asked in (9, 10, 11)
            # One connection for all checks of an instance, with workers too.
            assert [len(set(app.ports)) for app in apps] == [1, 1, 1]
            assert shop.sidecar.errors.decode().count("answered 503 to /healthz") == (len(flags) or 1)


async def test_a_worker_that_starts_later_knows_who_is_not_well(tmp_path: Path) -> None:
    async with running_apps(2) as apps:
        apps[1].status = 503
        health = {"path": "/healthz", **FAST}
        async with asking(tmp_path, health, [app.backend.address for app in apps], "--workers", "2") as shop:
            await shop.until_states("healthy", "check-failed")
            for worker in await workers(shop.sidecar):
                await kill_and_wait(shop.sidecar, worker["worker"])

            async def both_know() -> bool:
                shares = (await shop.endpoints())[1]["workers"]
                return [share["state"] for share in shares] == ["check-failed", "check-failed"]

            await until_async(both_know)
            assert await shop.ask(20) == {200: 20}
            assert apps[1].asked == 0
            assert await metric(shop.sidecar, "mesh_health_checks_total", service="shop.default", result="failed") >= 2
            assert await metric(shop.sidecar, "mesh_health_checks_total", service="shop.default", result="passed") >= 2


async def test_which_statuses_are_well_is_for_the_policy_to_say(tmp_path: Path) -> None:
    async with running_apps(2) as apps:
        apps[0].status = 404
        apps[1].status = 204
        health = {"path": "/healthz", "statuses": {"first": 404, "last": 404}, **FAST}
        async with asking(tmp_path, health, [app.backend.address for app in apps]) as shop:
            await shop.until_states("healthy", "check-failed")


async def test_a_check_that_takes_too_long_has_failed(tmp_path: Path) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async with running_apps(1) as apps, running_backend(hang) as hanging:
        health = {"path": "/healthz", **FAST, "timeout": "50ms"}
        async with asking(tmp_path, health, [apps[0].backend.address, hanging.address]) as shop:
            await shop.until_states("healthy", "check-failed")
            fault = (await shop.endpoints())[1]["check_fault"]
            assert fault == "The endpoint did not answer http:/healthz within 0.05 s."


async def test_tcp_checks_connect(tmp_path: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    try:
        async with asking(tmp_path, {"type": "TCP", **FAST}, [f"127.0.0.1:{port}" for port in ports]) as shop:
            servers[1].close()
            await shop.until_states("healthy", "check-failed")
            assert "does not take connections" in (await shop.endpoints())[1]["check_fault"]
            servers[1] = await asyncio.start_server(serve, "127.0.0.1", ports[1])
            await shop.until_states("healthy", "healthy")
    finally:
        for server in servers:
            server.close()


class GrpcHealth:
    """grpc.health.v1, on a server of grpcio."""

    def __init__(self) -> None:
        self.well = True

    async def check(self, request: HealthCheckRequest, _: grpc.aio.ServicerContext[Any, Any]) -> HealthCheckResponse:
        assert request.service == "shop.v1.Orders"
        return HealthCheckResponse(status="SERVING" if self.well else "NOT_SERVING")

    def handler(self) -> grpc.GenericRpcHandler:
        check = grpc.unary_unary_rpc_method_handler(
            self.check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


async def test_grpc_checks_ask_the_health_service(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        peers = [GrpcHealth(), GrpcHealth()]
        addresses = []
        for peer in peers:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((peer.handler(),))
            addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        health = {"type": "GRPC", "service": "shop.v1.Orders", **FAST}
        shop = await stack.enter_async_context(asking(tmp_path, health, addresses, protocol="grpc"))
        await shop.until_states("healthy", "healthy")
        peers[0].well = False
        await shop.until_states("check-failed", "healthy")
        peers[0].well = True
        await shop.until_states("healthy", "healthy")
