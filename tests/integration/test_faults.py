"""Faults through real sidecars: whom they meet, and how they are stopped."""

from __future__ import annotations

import asyncio
import signal
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

ABORT = {"abort": {"status": 503}}


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"app got {len(await request.read())}")


def for_header(**fault: Any) -> dict[str, Any]:
    return {"matches": [{"headers": [{"name": "x-fault", "value": "1"}]}], **fault}


async def test_an_abort_meets_only_requests_that_match_and_never_the_app(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.fault_policy("shop", for_header(**ABORT)),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as caller,
            aiohttp.ClientSession() as client,
        ):
            url = caller.url("outbound:shop")
            async with client.get(url) as fine:
                assert (fine.status, await fine.text()) == (200, "app got 0")
            async with client.get(url, headers={"x-fault": "1"}) as aborted:
                assert aborted.status == 503
                assert aborted.headers["x-mesh-error"] == "fault_injected"
                said = await aborted.json()
                assert said["detail"] == "this request fails on purpose: FaultPolicy default/shop says so"
            assert len(app.requests) == 1
            assert await metric(caller, "mesh_requests_total", flag="FI", service="shop.default") == 1
            assert await metric(caller, "mesh_faults_total", policy="default/shop", kind="abort") == 1
            assert await metric(caller, "mesh_retries_total") == 0


async def test_a_share_is_aborted_and_the_rest_is_not_touched(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.fault_policy("shop", {"percent": 25, **ABORT}),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as caller,
            aiohttp.ClientSession() as client,
        ):
            statuses = []
            for _ in range(400):
                async with client.get(caller.url("outbound:shop")) as response:
                    statuses.append(response.status)
            aborted = statuses.count(503)
            assert 55 <= aborted <= 145  # 100 ± 5 standard deviations
            assert len(app.requests) == 400 - aborted


async def test_a_delay_holds_up_also_long_bodies_and_counts_within_the_time_of_a_request(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.traffic_policy("shop", timeouts={"request": "1s"}),
            documents.fault_policy("shop", for_header(delay="200ms"), {"percent": 100, "delay": "5s"}),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as caller,
            aiohttp.ClientSession() as client,
        ):
            url = caller.url("outbound:shop")
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with client.post(url, data=b"x" * 1_000_000, headers={"x-fault": "1"}) as slow:
                assert (slow.status, await slow.text()) == (200, "app got 1000000")
            assert loop.time() - began >= 0.2
            assert await metric(caller, "mesh_requests_total", flag="DI", status="2xx") == 1
            async with client.get(url) as late:
                assert late.status == 504
                assert late.headers["x-mesh-error"] == "timeout"
            assert len(app.requests) == 1


async def test_calls_of_grpc_get_a_status(tmp_path: Path) -> None:
    app = Echo()
    async with running_grpc(app) as address:
        method = {"path": {"type": "Exact", "value": "/echo.Echo/Fail"}}
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("echo", address, protocol="grpc"),
            documents.fault_policy("echo", {"matches": [method], "abort": {"grpcStatus": "RESOURCE_EXHAUSTED"}}),
        )
        async with running_sidecar(None, "--config", str(mesh), "--outbound", "echo=:0") as caller:
            async with grpc.aio.insecure_channel(caller.address("outbound:echo")) as channel:
                assert await channel.unary_unary("/echo.Echo/Unary")(b"a") == b"a"
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await channel.unary_unary("/echo.Echo/Fail")(b"a")
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert app.calls == ["Unary"]


async def test_three_ways_to_stop_it(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        file = tmp_path / "mesh.yaml"

        def write(**spec: Any) -> Path:
            policy = documents.fault_policy("shop", ABORT, **spec)
            return documents.write(file, documents.endpoints("shop", app.address), policy)

        flags = ("--config", str(write()), "--outbound", "shop=:0")
        async with running_sidecar(None, *flags) as caller, aiohttp.ClientSession() as client:

            async def status() -> int:
                async with client.get(caller.url("outbound:shop")) as response:
                    return response.status

            async def until(wanted: int) -> None:
                caller.process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(10):
                    while await status() != wanted:
                        await asyncio.sleep(0.01)

            assert await status() == 503
            write(enabled=False)
            await until(200)
            write()
            await until(503)
            write(expires="2026-01-01T00:00:00Z")
            await until(200)
            write()
            async with running_sidecar(None, *flags, "--faults", "off") as careful:
                async with client.get(careful.url("outbound:shop")) as response:
                    assert response.status == 200


async def test_matches_look_at_requests_as_they_came(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        rewrite = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}}
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.http_route("shop", {"filters": [rewrite], "backendRefs": [{"name": "shop"}]}),
            documents.fault_policy("shop", {"matches": [{"path": {"type": "Exact", "value": "/old"}}], **ABORT}),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as caller,
            aiohttp.ClientSession() as client,
        ):
            async with client.get(caller.url("outbound:shop") + "/old") as aborted:
                assert aborted.status == 503
            async with client.get(caller.url("outbound:shop") + "/other") as fine:
                assert fine.status == 200
            assert [request.raw_path for request in app.requests] == ["/new"]
