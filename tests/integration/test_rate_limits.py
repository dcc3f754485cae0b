"""Rate limits through real sidecars."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import running_backend
from tests.support.grpc_app import Echo, running_grpc
from tests.support.mesh import metric
from tests.support.process import running_sidecar

SLOW = {"per": "1h"}
"""Nothing comes back during a test."""


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(text="fine")


async def statuses(client: aiohttp.ClientSession, url: str, count: int, **options: Any) -> list[int]:
    found = []
    for _ in range(count):
        async with client.get(url, **options) as response:
            found.append(response.status)
    return found


async def test_an_instance_keeps_to_the_limits_of_its_service(tmp_path: Path) -> None:
    limit = {"name": "user", "requests": 3, **SLOW, "keys": [{"type": "Header", "name": "X-User"}]}
    config = documents.write(tmp_path / "mesh.yaml", documents.rate_limit_policy("shop", limit))
    async with (
        running_backend(answer) as app,
        running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        url = sidecar.url("inbound")
        assert await statuses(client, url, 5, headers={"X-User": "ann"}) == [200] * 3 + [429] * 2
        assert await statuses(client, url, 1, headers={"X-User": "bob"}) == [200]
        assert await statuses(client, url, 9) == [200] * 9
        async with client.get(url, headers={"x-user": "ann"}) as refused:
            assert refused.headers["x-mesh-error"] == "rate_limited"
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["ratelimit-policy"] == '"shop/user";q=3;w=3600'
            assert refused.headers["ratelimit"].startswith('"shop/user";r=0;t=')
            assert 0 < int(refused.headers["retry-after"]) <= 1200
            assert "takes 3 requests in 3600 s (limit shop/user)" in (await refused.json())["detail"]
        assert len(app.requests) == 3 + 1 + 9
        labels = {"service": "shop.default", "limit": "shop/user", "enforcement": "enforce"}
        assert await metric(sidecar, "mesh_ratelimited_total", **labels) == 3
        assert await metric(sidecar, "mesh_requests_total", flag="RL", direction="inbound") == 3


async def test_an_instance_of_a_version_keeps_to_both(tmp_path: Path) -> None:
    config = documents.write(
        tmp_path / "mesh.yaml",
        documents.endpoints("shop", "127.0.0.1:1", version="v2"),
        documents.rate_limit_policy("shop", {"name": "all", "requests": 5, **SLOW}),
        documents.rate_limit_policy("shop-v2", {"name": "few", "requests": 2, **SLOW}),
    )
    flags = ("--service", "shop", "--version", "v2", "--config", str(config))
    async with (
        running_backend(answer) as app,
        running_sidecar(app.address, *flags) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        assert await statuses(client, sidecar.url("inbound"), 4) == [200] * 2 + [429] * 2


@pytest.mark.parametrize("shadow", [False, True])
async def test_callers_refuse_before_anything_is_sent(tmp_path: Path, shadow: bool) -> None:
    matches = [{"path": {"type": "PathPrefix", "value": "/reports"}, "method": "GET"}]
    policy = documents.rate_limit_policy(
        "shop",
        {"name": "reports", "requests": 1, **SLOW, "matches": matches},
        enforcedBy="Callers",
        enforcement="Shadow" if shadow else "Enforce",
    )
    async with running_backend(answer) as app:
        config = documents.write(tmp_path / "mesh.yaml", documents.endpoints("shop", app.address), policy)
        async with (
            running_sidecar(None, "--config", str(config), "--outbound", "shop=:0") as caller,
            aiohttp.ClientSession() as client,
        ):
            url = caller.url("outbound:shop")
            refused = 200 if shadow else 429
            assert await statuses(client, url + "/reports/1", 3) == [200, refused, refused]
            assert await statuses(client, url + "/other", 3) == [200] * 3
            assert len(app.requests) == (6 if shadow else 4)
            kind = "shadow" if shadow else "enforce"
            assert await metric(caller, "mesh_ratelimited_total", limit="shop/reports", enforcement=kind) == 2


async def test_callers_at_one_address_are_one(tmp_path: Path) -> None:
    limit = {"name": "client", "requests": 2, **SLOW, "keys": [{"type": "SourceAddress"}]}
    config = documents.write(tmp_path / "mesh.yaml", documents.rate_limit_policy("shop", limit))
    async with (
        running_backend(answer) as app,
        running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
        aiohttp.ClientSession() as client,
    ):
        url = sidecar.url("inbound")
        assert await statuses(client, url, 3) == [200, 200, 429]
        # Loopback is trusted to say for whom it asks.
        assert await statuses(client, url, 3, headers={"X-Forwarded-For": "192.0.2.1, 10.0.0.1"}) == [200, 200, 429]


async def test_a_peer_is_one_whoever_it_asks_for(tmp_path: Path) -> None:
    limit = {"name": "peer", "requests": 2, **SLOW, "keys": [{"type": "Peer"}]}
    config = documents.write(tmp_path / "mesh.yaml", documents.rate_limit_policy("shop", limit))
    async with (
        running_backend(answer) as app,
        running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
        aiohttp.ClientSession() as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))) as other,
    ):
        url = sidecar.url("inbound")
        assert await statuses(client, url, 2, headers={"X-Forwarded-For": "192.0.2.1"}) == [200, 200]
        assert await statuses(client, url, 1, headers={"X-Forwarded-For": "192.0.2.2"}) == [429]
        assert await statuses(other, url, 3) == [200, 200, 429]


async def test_grpc_calls_are_told_in_their_way(tmp_path: Path) -> None:
    limit = {"name": "all", "requests": 1, **SLOW}
    config = documents.write(tmp_path / "mesh.yaml", documents.rate_limit_policy("echo", limit))
    async with (
        running_grpc(Echo()) as app,
        running_sidecar(app, "--service", "echo", "--protocol", "grpc", "--config", str(config)) as sidecar,
        grpc.aio.insecure_channel(sidecar.address("inbound")) as channel,
    ):
        call = channel.unary_unary("/echo.Echo/Unary")
        assert await call(b"a") == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"b")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "(limit echo/all)" in (refused.value.details() or "")
        told = dict(refused.value.initial_metadata() or refused.value.trailing_metadata())
        assert 3_590_000 < int(told["grpc-retry-pushback-ms"]) <= 3_600_000
        assert told["ratelimit"] == '"echo/all";r=0;t=3600'


async def test_a_worker_that_needs_more_of_a_limit_gets_it(tmp_path: Path) -> None:
    config = documents.write(
        tmp_path / "mesh.yaml", documents.rate_limit_policy("shop", {"name": "all", "requests": 40, "burst": 4})
    )
    flags = ("--service", "shop", "--config", str(config), "--workers", "2")
    async with (
        running_backend(answer) as app,
        running_sidecar(app.address, *flags) as sidecar,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client,
    ):
        async with asyncio.timeout(30):  # one connection meets one worker, whose equal part would be 20
            while await rate(client, sidecar.url("inbound"), 1.0) < 36:
                pass


async def rate(client: aiohttp.ClientSession, url: str, seconds: float) -> float:
    """Of requests that pass, out of some 100 a second."""
    began, passed = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        passed += (await statuses(client, url, 1))[0] == 200
        await asyncio.sleep(0.01)
    return passed / (time.monotonic() - began)


async def test_workers_share_the_limit_of_their_sidecar(tmp_path: Path) -> None:
    config = documents.write(
        tmp_path / "mesh.yaml", documents.rate_limit_policy("shop", {"name": "all", "requests": 40, **SLOW})
    )
    flags = ("--service", "shop", "--config", str(config), "--workers", "2")
    async with running_backend(answer) as app, running_sidecar(app.address, *flags) as sidecar:
        passed = 0
        for _ in range(80):
            async with aiohttp.ClientSession() as client:  # another connection may meet another worker
                passed += (await statuses(client, sidecar.url("inbound"), 1))[0] == 200
        assert 20 <= passed <= 41
