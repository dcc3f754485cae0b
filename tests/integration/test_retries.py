"""Retries and hedges as a caller's sidecar makes them: what is tried again, when, and what the next server sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from remora.sidecar.exchange.grpc_timeout import parse_grpc_timeout
from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.grpc_app import Echo, meshed
from tests.support.ports import free_port
from tests.support.process import running_sidecar

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]

BOTH = ("ConnectFailure", "Reset")


class Pair:
    """A caller's sidecar before two apps: requests go to the failing one first, since it answers in turns."""

    def __init__(self, client: aiohttp.ClientSession, failing: Backend, fine: Backend) -> None:
        self.client = client
        self.failing = failing
        self.fine = fine

    async def until_failing(self, method: str = "GET", **request: Any) -> tuple[int, str]:
        """Status and body of the first request whose first try is at the failing app."""
        before = len(self.failing.requests)
        for _ in range(3):
            async with self.client.request(method, "/", **request) as response:
                text = await response.text()
            if len(self.failing.requests) > before:
                return response.status, text
        raise AssertionError("it was never asked")


async def reset(request: web.Request) -> web.StreamResponse:
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def echo(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read())


@asynccontextmanager
async def pair(tmp_path: Path, script: Script, *rules: dict[str, Any], **policy: Any) -> AsyncIterator[Pair]:
    async with running_backend(script) as failing, running_backend(echo) as fine:
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("orders", failing.address, fine.address),
            documents.traffic_policy("orders", balancer={"type": "RoundRobin"}, **policy),
            *[documents.http_route("orders", rule) for rule in rules],
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with (
            running_sidecar(None, *flags) as sidecar,
            aiohttp.ClientSession(sidecar.url("outbound:orders")) as client,
        ):
            yield Pair(client, failing, fine)


@pytest.mark.parametrize(
    ("retry", "request_", "retried"),
    [
        ({}, {"method": "GET"}, True),
        ({"attempts": 0}, {"method": "GET"}, False),
        ({"conditions": ["ConnectFailure"]}, {"method": "GET"}, False),
        ({"conditions": ["Reset"]}, {"method": "GET"}, True),
        ({}, {"method": "PUT", "data": b"body"}, True),
        ({}, {"method": "POST", "data": b"body"}, False),
        ({"safeMethods": ["POST"]}, {"method": "POST", "data": b"body"}, True),
        ({}, {"method": "POST", "data": b"body", "headers": {"Idempotency-Key": '"1"'}}, True),
        ({"idempotencyHeader": ""}, {"method": "POST", "data": b"body", "headers": {"Idempotency-Key": '"1"'}}, False),
        ({"idempotencyHeader": "X-Once"}, {"method": "POST", "data": b"body", "headers": {"x-once": "1"}}, True),
    ],
)
async def test_what_is_tried_again_after_a_reset(
    tmp_path: Path, retry: dict[str, Any], request_: dict[str, Any], retried: bool
) -> None:
    async with pair(tmp_path, reset, retry=retry) as two:
        status, text = await two.until_failing(**request_)
        assert len(two.failing.requests) == 1
        if retried:
            assert (status, text) == (200, request_.get("data", b"").decode())
        else:
            assert status == 503
            assert '"upstream_reset"' in text


async def test_retries_go_on_connections_that_there_are(tmp_path: Path) -> None:
    """Were each to open one, a storm of them would take all that a service may have."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with pair(tmp_path, refuse, outlier={"consecutiveFailures": 0}) as two:
        for _ in range(6):
            assert await two.until_failing() == (200, "")
        assert len({id(request.protocol) for request in two.fine.requests}) <= 2
        assert len({id(request.protocol) for request in two.failing.requests}) <= 2


@pytest.mark.parametrize(("conditions", "status"), [(BOTH, 200), (("Reset",), 503)])
async def test_a_connection_that_is_refused_is_a_condition_of_its_own(
    tmp_path: Path, conditions: tuple[str, ...], status: int
) -> None:
    async with running_backend(echo) as fine:
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("orders", f"127.0.0.1:{free_port()}", fine.address),
            documents.traffic_policy("orders", balancer={"type": "RoundRobin"}, retry={"conditions": [*conditions]}),
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        async with running_sidecar(None, *flags) as sidecar, aiohttp.ClientSession() as client:

            async def post() -> int:
                async with client.post(sidecar.url("outbound:orders"), data=b"x") as response:
                    return response.status

            assert sorted({await post(), await post()}) == sorted({200, status})


async def test_a_routes_backend_request_is_the_time_of_one_try(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    rule = {"timeouts": {"request": "10s", "backendRequest": "200ms"}, "backendRefs": [{"name": "orders", "port": 80}]}
    async with pair(tmp_path, hang, rule, retry={"perTryTimeout": "9s"}) as two:
        before = time.monotonic()
        assert await two.until_failing("PUT", data=b"body") == (200, "body")
        assert 0.2 <= time.monotonic() - before < 9
        status, text = await two.until_failing("POST", data=b"body")
        assert status == 504
        assert "did not answer within 0.2 s" in text
        release.set()


@pytest.mark.parametrize(
    ("after", "waits_s"), [("1", 1.0), ("0", 0.0), ("3600", None), ("Fri, 31 Dec 9999 23:59:59 GMT", None)]
)
async def test_a_server_that_asks_to_wait_is_obeyed(tmp_path: Path, after: str, waits_s: float | None) -> None:
    """Where the request has no time for that, its caller hears of it."""

    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="busy", headers={"Retry-After": after})

    async with pair(tmp_path, busy) as two:
        before = time.monotonic()
        answer = await two.until_failing()
        if waits_s is None:
            assert answer == (503, "busy")
        else:
            assert answer == (200, "")
            assert time.monotonic() - before >= waits_s


class Pushing(grpc.GenericRpcHandler):
    """Fails the first call, with `pushback` in its trailers; notes what each call says of those before it."""

    def __init__(self, pushback: str) -> None:
        self.pushback = pushback
        self.attempts: list[tuple[float, str | None]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self.call)

    async def call(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        said = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        self.attempts.append((time.monotonic(), said.get("grpc-previous-rpc-attempts")))
        if len(self.attempts) == 1:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushback),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return request


async def test_grpc_servers_say_when_and_hear_how_often(tmp_path: Path) -> None:
    app = Pushing("700")
    async with meshed(tmp_path, app, retry={"safeMethods": ["/x.X/Y"]}) as (channel, _):
        assert await channel.unary_unary("/x.X/Y")(b"asked", timeout=20) == b"asked"
    (first, nothing), (second, one) = app.attempts
    assert (nothing, one) == (None, "1")
    assert second - first >= 0.7


async def test_a_grpc_server_that_wants_no_retry_gets_none(tmp_path: Path) -> None:
    app = Pushing("-1")
    async with meshed(tmp_path, app, retry={"safeMethods": ["/x.X/Y"]}) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/x.X/Y")(b"", timeout=20)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "busy"
    assert len(app.attempts) == 1


class Slow(Echo):
    """Answers no Unary call."""

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await self.hang(request, context)


async def test_a_hedged_call_is_answered_by_the_other_and_cancelled_at_the_first(tmp_path: Path) -> None:
    slow, quick = Slow(), Echo("quick")
    policy = {"hedging": {"delay": "100ms"}, "retry": {"safeMethods": ["/echo.Echo/Unary"]}}
    async with meshed(tmp_path, slow, quick, **policy) as (channel, _):
        unary = channel.unary_unary("/echo.Echo/Unary")
        assert {await unary(b"", timeout=20) for _ in range(4)} == {b"quick"}
        assert slow.calls
        assert quick.calls == ["Unary"] * 4
        async with asyncio.timeout(20):
            await slow.cancelled.wait()


async def test_a_configured_timeout_is_told_and_obeyed_by_the_next_sidecar(tmp_path: Path) -> None:
    release, told = asyncio.Event(), list[str | None]()

    async def note(request: web.Request) -> web.StreamResponse:
        told.append(request.headers.get("grpc-timeout"))
        if request.path == "/hang":
            await release.wait()
        return web.Response()

    async with running_backend(note) as app, running_sidecar(app.address) as inbound, aiohttp.ClientSession() as client:
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("timed", inbound.address("inbound")),
            documents.endpoints("plain", inbound.address("inbound")),
            documents.traffic_policy("timed", timeouts={"request": "8s"}),
        )
        flags = ("--config", str(config), "--outbound", "timed=127.0.0.1:0", "--outbound", "plain=127.0.0.1:0")
        async with running_sidecar(None, *flags) as caller:
            for service in ("timed", "plain"):
                async with client.get(caller.url(f"outbound:{service}")) as response:
                    assert response.status == 200
            tells, nothing = told
            assert nothing is None
            assert 1.0 < (parse_grpc_timeout((tells or "").encode()) or 0.0) <= 8.0
        async with client.get(inbound.url("inbound") + "/hang", headers={"grpc-timeout": "100m"}) as response:
            assert response.status == 504
            assert response.headers["x-mesh-error"] == "timeout"
        release.set()
