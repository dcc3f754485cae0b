"""Policies that hold before an app, and fallbacks of its callers: written into the store, taken by sidecars."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from remora.control.server import ControlServer, Ports
from remora.control.store.keys import config_key
from remora.control.store.memory import MemoryStore
from remora.model.address import Address
from tests.support import documents
from tests.support.backend import running_backend
from tests.support.mesh import metric
from tests.support.process import running_sidecar

LOCAL = Address("127.0.0.1", 0)
TIMEOUT_S = 20


@asynccontextmanager
async def running_control(store: MemoryStore) -> AsyncIterator[str]:
    server = ControlServer(store, "test", "control")
    ports = await server.start(Ports(LOCAL, LOCAL))
    following = asyncio.create_task(server.run())
    try:
        yield str(ports.grpc)
    finally:
        following.cancel()
        await asyncio.wait([following])
        await server.stop()


async def put(store: MemoryStore, service: str, **spec: Any) -> None:
    document = documents.traffic_policy(service, **spec)
    key = config_key("test", "TrafficPolicy", "default", service)
    await store.put(key, json.dumps(document).encode())


async def until_it_says(client: aiohttp.ClientSession, url: str, status: int, text: str) -> None:
    said = (0, "")
    async with asyncio.timeout(TIMEOUT_S):
        while said != (status, text):
            async with client.get(url) as response:
                said = (response.status, response.headers.get("x-mesh-error") or await response.text())


def saying(text: str) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    return answer


async def test_an_instance_gets_what_is_said_of_its_service_and_no_endpoints(tmp_path: Path) -> None:
    store = MemoryStore()
    async with (
        running_control(store) as control,
        running_backend(saying("app")) as app,
        running_sidecar(app.address, "--service", "app", "--control", control, "--state-dir", str(tmp_path)) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        url = sidecar.url("inbound")
        await until_it_says(client, url, 200, "app")
        await put(store, "app", concurrency={"min": 7, "max": 7})
        async with asyncio.timeout(TIMEOUT_S):
            while await metric(sidecar, "mesh_concurrency_limit", service="app.default") != 7:
                pass
        async with client.get(sidecar.url("admin") + "/clusters") as response:
            (cluster,) = await response.json()  # it knows no other instance
            assert cluster["concurrency"] == {"limit": 7, "in_flight": 0}
        await put(store, "app")
        async with asyncio.timeout(TIMEOUT_S):
            while await metric(sidecar, "mesh_concurrency_limit", service="app.default"):
                pass
        await until_it_says(client, url, 200, "app")


async def test_callers_get_the_endpoints_of_the_fallback(tmp_path: Path) -> None:
    store = MemoryStore()
    async with (
        running_control(store) as control,
        running_backend(saying("other")) as other,
        running_sidecar(other.address, "--service", "other", "--control", control, "--state-dir", str(tmp_path)),
        running_sidecar(
            None, "--outbound", "app=:0", "--control", control, "--state-dir", str(tmp_path / "caller")
        ) as caller,
        aiohttp.ClientSession() as client,
    ):
        url = caller.url("outbound:app")
        await until_it_says(client, url, 503, "no_healthy_endpoint")
        await put(store, "app", fallback={"service": "other"})
        await until_it_says(client, url, 200, "other")
        await store.delete(config_key("test", "TrafficPolicy", "default", "app"))
        await until_it_says(client, url, 503, "no_healthy_endpoint")
