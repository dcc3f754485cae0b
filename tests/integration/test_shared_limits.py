"""A limit of a service, kept to by three sidecars under two controls: real processes' parts, sockets and store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import yaml
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
RATE, BURST = 60, 6
RATES = (50.0, 30.0, 20.0)
"""Of requests at each instance."""


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(text="fine")


@asynccontextmanager
async def running_control(store: MemoryStore, control_id: str) -> AsyncIterator[str]:
    """Its address for sidecars."""
    server = ControlServer(store, "test", control_id)
    ports = await server.start(Ports(LOCAL, LOCAL))
    following = asyncio.create_task(server.run())
    try:
        yield str(ports.grpc)
    finally:
        following.cancel()
        await asyncio.wait([following])
        await server.stop()


async def passed(client: aiohttp.ClientSession, url: str, rate: float, until: float) -> int:
    """How many of the requests that come at an even rate are answered 200."""
    count, due = 0, time.monotonic()
    while (now := time.monotonic()) < until:
        if now < due:
            await asyncio.sleep(due - now)
        due += 1.0 / rate
        async with client.get(url) as response:
            assert response.status in (200, 429)
            count += response.status == 200
    return count


async def test_three_instances_under_two_controls_keep_to_one_limit(tmp_path: Path) -> None:
    store = MemoryStore()
    limit = {"name": "all", "requests": RATE, "burst": BURST, "scope": "Service"}
    document = yaml.safe_dump(documents.rate_limit_policy("shop", limit)).encode()
    await store.put(config_key("test", "RateLimitPolicy", "default", "shop"), document)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_control(store, "a"))
        second = await stack.enter_async_context(running_control(store, "b"))
        app = await stack.enter_async_context(running_backend(answer))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        sidecars = [
            await stack.enter_async_context(
                running_sidecar(
                    app.address, "--service", "shop", "--control", control, "--state-dir", str(tmp_path / str(number))
                )
            )
            for number, control in enumerate((first, second, second))
        ]
        urls = [sidecar.url("inbound") for sidecar in sidecars]

        async def load(seconds: float) -> float:
            """What passes in a second, at all of them together."""
            began = time.monotonic()
            counts = await asyncio.gather(
                *(passed(client, url, rate, began + seconds) for url, rate in zip(urls, RATES, strict=True))
            )
            return sum(counts) / (time.monotonic() - began)

        async with asyncio.timeout(20):  # the limit has come, and the parts have found themselves
            while await load(2) > RATE * 1.05:
                pass
        rate = await load(6)
        assert RATE * 0.95 <= rate <= RATE * 1.05 + BURST / 6
        refused = sum([await metric(sidecar, "mesh_ratelimited_total", limit="shop/all") for sidecar in sidecars])
        assert refused > 0
