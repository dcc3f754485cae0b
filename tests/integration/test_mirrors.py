"""Mirrors through real sidecars: copies arrive whole, and nobody waits for them or fails because of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, Script, running_backend
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until

COUNT = "mesh_mirrored_requests_total"


class Taken:
    """An app that writes down what it gets."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._status = status

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = b"".join([piece async for piece in request.content.iter_any()])
        self.requests.append((request.method, request.raw_path, headers, body))
        return web.Response(status=self._status, text="x" * 1000)


def mirror(service: str, **share: Any) -> dict[str, Any]:
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": service}, **share}}


@asynccontextmanager
async def mirroring(
    tmp_path: Path, app: Script, shadow: str, *filters: dict[str, Any], **ref: Any
) -> AsyncIterator[tuple[Command, aiohttp.ClientSession, str]]:
    """A client of `shop`, which is `app`, by a sidecar with these filters; `shadow` is HOST:PORT."""
    rule = {"filters": list(filters), "backendRefs": [{"name": "shop", **ref}]}
    async with running_backend(app) as backend:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", backend.address),
            documents.endpoints("shadow", shadow),
            documents.http_route("shop", rule),
            documents.traffic_policy("shadow", timeouts={"request": "300ms"}, outlier={"consecutiveFailures": 0}),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as sidecar,
            aiohttp.ClientSession() as client,
        ):
            yield sidecar, client, sidecar.url("outbound:shop")


@asynccontextmanager
async def shadowing(
    tmp_path: Path, shadow: Script, *filters: dict[str, Any], **ref: Any
) -> AsyncIterator[tuple[Taken, Backend, Command, aiohttp.ClientSession, str]]:
    app = Taken()
    async with (
        running_backend(shadow) as backend,
        mirroring(tmp_path, app, backend.address, *filters, **ref) as (sidecar, client, url),
    ):
        yield app, backend, sidecar, client, url


async def until_counted(sidecar: Command, copies: int, **labels: str) -> None:
    async with asyncio.timeout(20):
        while await metric(sidecar, COUNT, service="shadow.default", **labels) != copies:
            await asyncio.sleep(0.02)


async def test_copies_are_whole(tmp_path: Path) -> None:
    shadow = Taken(status=500)
    async with shadowing(tmp_path, shadow, mirror("shadow")) as (app, _, sidecar, client, url):
        large = bytes(range(256)) * 2048  # 512 KiB
        for body in (None, b"small", large):
            async with client.post(url + "/cart?a=1", data=body, headers={"X-A": "b"}) as response:
                assert response.status == 200

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"piece"

        async with client.put(url + "/pieces", data=pieces()) as response:
            assert response.status == 200
        await until(lambda: len(shadow.requests) == 4)
        own = ("traceparent", "transfer-encoding", "content-length")
        for ours, theirs in zip(app.requests, shadow.requests, strict=True):
            assert ours[:2] == theirs[:2]
            assert ours[3] == theirs[3]
            assert {name: value for name, value in ours[2].items() if name not in own} == {
                name: value for name, value in theirs[2].items() if name not in own
            }
        await until_counted(sidecar, 4, status="5xx", flag="")
        assert await metric(sidecar, "mesh_requests_total", service="shadow.default") == 0
        assert await metric(sidecar, "mesh_requests_total", service="shop.default", status="2xx") == 4


async def test_a_share_of_the_requests_is_copied(tmp_path: Path) -> None:
    shadow = Taken()
    half = mirror("shadow", fraction={"numerator": 1, "denominator": 2})
    async with shadowing(tmp_path, shadow, half) as (app, _, sidecar, client, url):
        for _ in range(200):
            async with client.get(url) as response:
                assert response.status == 200
        assert len(app.requests) == 200
        copied = await metric(sidecar, COUNT)
        await until(lambda: len(shadow.requests) >= copied)
        # Seven standard deviations of a binomial distribution.
        assert 50 < len(shadow.requests) < 150


async def test_a_share_of_0_copies_nothing(tmp_path: Path) -> None:
    shadow = Taken()
    async with shadowing(tmp_path, shadow, mirror("shadow", percent=0)) as (_, _, sidecar, client, url):
        async with client.get(url) as response:
            assert response.status == 200
        assert await metric(sidecar, COUNT) == 0
        assert shadow.requests == []


async def test_a_copy_is_edited_as_far_as_the_filters_beside_it_go(tmp_path: Path) -> None:
    def adding(value: str) -> dict[str, Any]:
        return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "X-Way", "value": value}]}}

    shadow = Taken()
    path = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/inside"}}}
    async with shadowing(
        tmp_path, shadow, adding("rule"), mirror("shadow"), filters=[path, adding("backend"), mirror("shadow")]
    ) as (app, _, _, client, url):
        async with client.get(url + "/a") as response:
            assert response.status == 200
        await until(lambda: len(shadow.requests) == 2)
        assert app.requests[0][1] == "/inside"
        assert sorted(request[1] for request in shadow.requests) == ["/a", "/inside"]


async def test_a_mirror_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    async with shadowing(tmp_path, hang, mirror("shadow")) as (app, backend, sidecar, client, url):
        for _ in range(10):
            async with asyncio.timeout(5), client.get(url) as response:
                assert response.status == 200
        assert len(app.requests) == 10
        await until_counted(sidecar, 10, flag="UT")
        assert len(backend.requests) == 10
        released.set()


async def test_a_mirror_that_is_not_there_troubles_nobody(tmp_path: Path) -> None:
    app = Taken()
    dead = f"127.0.0.1:{free_port()}"
    async with mirroring(tmp_path, app, dead, mirror("shadow"), mirror("nobody")) as (sidecar, client, url):
        for _ in range(10):
            async with client.post(url, data=b"body") as response:
                assert response.status == 200
        assert len(app.requests) == 10
        await until_counted(sidecar, 10, flag="UF")
        assert await metric(sidecar, COUNT, service="nobody.default", flag="UH") == 10
        assert await metric(sidecar, "mesh_retries_total") == 0


async def test_a_mirror_that_does_not_read_loses_the_copy_and_the_request_goes_on(tmp_path: Path) -> None:
    async def read_nothing(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    body = bytes(32 << 20)
    async with shadowing(tmp_path, read_nothing, mirror("shadow")) as (app, _, sidecar, client, url):
        async with asyncio.timeout(30), client.post(url, data=io.BytesIO(body)) as response:
            assert response.status == 200
        assert len(app.requests[0][3]) == len(body)
        await until_counted(sidecar, 1, flag="UO")
