"""A rate limit service of grpcio, asked by real sidecars."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from google.protobuf.duration_pb2 import Duration

from remora.proto.ratelimit.rls_pb2 import HeaderValue, RateLimitResponse
from tests.support import documents
from tests.support.backend import running_backend
from tests.support.limiter import running_limiter
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import running_sidecar
from tests.support.waiting import until

DESCRIPTORS = [
    {"entries": [{"key": "user", "type": "Header", "name": "x-user"}, {"key": "path", "type": "Path"}]},
    {"entries": [{"key": "kind", "value": "slow"}, {"key": "method", "type": "Method"}]},
]
OVER = RateLimitResponse(
    overall_code=RateLimitResponse.OVER_LIMIT,
    statuses=[
        RateLimitResponse.DescriptorStatus(
            code=RateLimitResponse.OVER_LIMIT,
            current_limit=RateLimitResponse.RateLimit(
                name="per-user", requests_per_unit=10, unit=RateLimitResponse.RateLimit.MINUTE
            ),
            duration_until_reset=Duration(seconds=41, nanos=5),
        ),
        RateLimitResponse.DescriptorStatus(code=RateLimitResponse.OK),
    ],
    response_headers_to_add=[
        HeaderValue(key="X-Plan", value="basic"),
        HeaderValue(key="bad", value="a\r\nb: c"),
        HeaderValue(key="Content-Length", value="1"),
    ],
)


async def tell_plan(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request.headers.get("x-plan", "none"))


def policy(address: str, *, timeout: str = "2s", shadow: bool = False, **external: Any) -> dict[str, Any]:
    asked = {"address": address, "domain": "shop", "descriptors": DESCRIPTORS, "timeout": timeout, **external}
    return documents.rate_limit_policy("shop", external=asked, enforcement="Shadow" if shadow else "Enforce")


async def test_the_service_decides_and_says_why(tmp_path: Path) -> None:
    async with running_limiter() as (limiter, address), running_backend(tell_plan) as app:
        config = documents.write(tmp_path / "mesh.yaml", policy(address))
        async with (
            running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
            aiohttp.ClientSession() as client,
        ):
            url = sidecar.url("inbound") + "/items?page=1"
            limiter.over["bob"] = OVER
            plan = HeaderValue(key="x-plan", value="gold")
            limiter.over["ann"] = RateLimitResponse(
                overall_code=RateLimitResponse.OK,
                request_headers_to_add=[plan, HeaderValue(key="transfer-encoding", value="chunked")],
                response_headers_to_add=[plan],
            )
            async with client.get(url, headers={"x-user": "ann"}) as fine:
                assert (fine.status, await fine.text()) == (200, "gold")
                assert fine.headers["x-plan"] == "gold"
            async with client.post(url, headers={"x-user": "bob"}, data=b"x" * 100_000) as refused:
                assert refused.status == 429
                assert refused.headers["x-mesh-error"] == "rate_limited"
                assert refused.headers["x-plan"] == "basic"
                assert "bad" not in refused.headers
                assert refused.headers["retry-after"] == "42"
                assert refused.headers["ratelimit-policy"] == '"shop";q=10;w=60'
                assert refused.headers["ratelimit"] == '"shop";r=0;t=42'
            async with client.get(url) as fine:
                assert fine.status == 200
            asked = [
                [[(entry.key, entry.value) for entry in descriptor.entries] for descriptor in request.descriptors]
                for request in limiter.asked
            ]
            assert asked == [
                [[("user", "ann"), ("path", "/items")], [("kind", "slow"), ("method", "GET")]],
                [[("user", "bob"), ("path", "/items")], [("kind", "slow"), ("method", "POST")]],
                [[("kind", "slow"), ("method", "GET")]],
            ]
            assert {(request.domain, request.hits_addend) for request in limiter.asked} == {("shop", 1)}
            assert len(app.requests) == 2
            assert await metric(sidecar, "mesh_ratelimited_total", limit="shop", enforcement="enforce") == 1
            assert await metric(sidecar, "mesh_requests_total", flag="RL") == 1


@pytest.mark.parametrize("fail_open", [True, False])
@pytest.mark.parametrize("broken", ["silent", "absent"])
async def test_without_an_answer_the_document_decides(tmp_path: Path, fail_open: bool, broken: str) -> None:
    async with running_limiter() as (limiter, address), running_backend(tell_plan) as app:
        limiter.silent = True
        where = address if broken == "silent" else f"127.0.0.1:{free_port()}"
        config = documents.write(tmp_path / "mesh.yaml", policy(where, timeout="20ms", failOpen=fail_open))
        async with (
            running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
            aiohttp.ClientSession() as client,
        ):
            for _ in range(5):
                async with client.get(sidecar.url("inbound")) as response:
                    assert response.status == (200 if fail_open else 503)
                    assert response.headers.get("x-mesh-error") == (None if fail_open else "limiter_failed")
            assert await metric(sidecar, "mesh_limiter_failures_total", limit="shop") == 5
            assert sidecar.errors.count(b"does not answer as it should") == 1
            limiter.silent = False
            if broken == "silent":
                config.write_text(config.read_text().replace("20ms", "2s"))
                sidecar.process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(20):
                    while await status(client, sidecar.url("inbound")) != 200:
                        pass


async def status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        return response.status


async def test_a_new_document_leaves_questions_their_answers(tmp_path: Path) -> None:
    async with running_limiter() as (limiter, address), running_backend(tell_plan) as app:
        limiter.silent = True
        config = documents.write(tmp_path / "mesh.yaml", policy(address, timeout="60s", failOpen=False))
        async with (
            running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
            aiohttp.ClientSession() as client,
            asyncio.timeout(20),
        ):
            first = asyncio.create_task(client.get(sidecar.url("inbound")))
            await until(lambda: len(limiter.asked) == 1)
            config.write_text(config.read_text().replace("domain: shop", "domain: other"))
            sidecar.process.send_signal(signal.SIGHUP)
            others = []
            while limiter.asked[-1].domain != "other":
                others.append(asyncio.create_task(client.get(sidecar.url("inbound"))))
                asked = len(limiter.asked)
                await until(lambda: len(limiter.asked) > asked)  # noqa: B023
            limiter.speaks.set()
            for answer in (first, *others):
                async with await answer as response:
                    assert response.status == 200


async def test_in_shadow_mode_nobody_waits(tmp_path: Path) -> None:
    async with running_limiter() as (limiter, address), running_backend(tell_plan) as app:
        limiter.over["slow"] = OVER
        config = documents.write(tmp_path / "mesh.yaml", policy(address, shadow=True))
        async with (
            running_sidecar(app.address, "--service", "shop", "--config", str(config)) as sidecar,
            aiohttp.ClientSession() as client,
        ):
            async with client.get(sidecar.url("inbound")) as response:
                assert response.status == 200
            while not await metric(sidecar, "mesh_ratelimited_total", limit="shop", enforcement="shadow"):
                pass
            assert await metric(sidecar, "mesh_shadowed_total", service="shop.default", policy="ratelimit") == 1
        assert "shop.default: ratelimit shop, in shadow mode, would have refused 1 requests" in sidecar.errors.decode()
