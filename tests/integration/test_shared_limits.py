"""A limit of a service, kept to by several sidecars under one or two controls: real processes, sockets and store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
RATE, BURST = 60, 20
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
    """How many of the requests that come at an even rate, however long answers take, are answered 200."""

    async def ask() -> bool:
        async with client.get(url) as response:
            assert response.status in (200, 429)
            return response.status == 200

    asked, due = [], time.monotonic()
    while (now := time.monotonic()) < until:
        asked.append(asyncio.create_task(ask()))
        due = max(due + 1.0 / rate, now - 0.1)
        await asyncio.sleep(due - now)
    return sum(await asyncio.gather(*asked))


async def keeps_to_the_limit(urls: Sequence[str], rates: Sequence[float]) -> None:
    """Whether all together let the limit through, once the limit has come and the parts have found themselves."""
    # A connection for each request: it may meet any worker.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:

        async def load(seconds: float) -> float:
            began = time.monotonic()
            counts = await asyncio.gather(
                *(passed(client, url, rate, began + seconds) for url, rate in zip(urls, rates, strict=True))
            )
            return sum(counts) / (time.monotonic() - began)

        async with asyncio.timeout(20):
            while await load(2) > RATE * 1.05:
                pass
        rate = await load(6)
        assert RATE * 0.95 <= rate <= RATE * 1.05 + BURST / 6


async def policy(store: MemoryStore, **spec: str) -> None:
    """Of shop: one limit that is shared."""
    limit = {"name": "all", "requests": RATE, "burst": BURST, "scope": "Service"}
    document = yaml.safe_dump(documents.rate_limit_policy("shop", limit, **spec)).encode()
    await store.put(config_key("test", "RateLimitPolicy", "default", "shop"), document)


async def test_three_instances_under_two_controls_keep_to_one_limit(tmp_path: Path) -> None:
    store = MemoryStore()
    await policy(store)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_control(store, "a"))
        second = await stack.enter_async_context(running_control(store, "b"))
        app = await stack.enter_async_context(running_backend(answer))
        sidecars = [
            await stack.enter_async_context(
                running_sidecar(
                    app.address, "--service", "shop", "--control", control, "--state-dir", str(tmp_path / str(number))
                )
            )
            for number, control in enumerate((first, second, second))
        ]
        await keeps_to_the_limit([sidecar.url("inbound") for sidecar in sidecars], RATES)
        refused = sum([await metric(sidecar, "mesh_ratelimited_total", limit="shop/all") for sidecar in sidecars])
        assert refused > 0


async def test_two_callers_keep_to_one_limit() -> None:
    store = MemoryStore()
    await policy(store, enforcedBy="Callers")
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(running_control(store, "a"))
        app = await stack.enter_async_context(running_backend(answer))
        shop = await stack.enter_async_context(running_sidecar(app.address, "--service", "shop", "--control", control))
        callers = [
            await stack.enter_async_context(running_sidecar(None, "--control", control, "--outbound", "shop=:0"))
            for _ in range(2)
        ]
        urls = [caller.url("outbound:shop") for caller in callers]
        async with aiohttp.ClientSession() as client, asyncio.timeout(20):
            for url in urls:
                await until_answered(client, url)
        await keeps_to_the_limit(urls, (90.0, 20.0))
        assert await metric(shop, "mesh_ratelimited_total", limit="shop/all") == 0


async def until_answered(client: aiohttp.ClientSession, url: str) -> None:
    """The instance has registered, and the caller knows it."""
    while True:
        async with client.get(url) as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.05)


async def test_workers_share_what_their_sidecar_has_of_a_limit() -> None:
    store = MemoryStore()
    await policy(store)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(running_control(store, "a"))
        app = await stack.enter_async_context(running_backend(answer))
        sidecars = [
            await stack.enter_async_context(
                running_sidecar(app.address, "--service", "shop", "--control", control, "--workers", str(workers))
            )
            for workers in (2, 1)
        ]
        await keeps_to_the_limit([sidecar.url("inbound") for sidecar in sidecars], (90.0, 50.0))
