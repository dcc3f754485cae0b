"""Admission control and adaptive concurrency, through real sidecars, before apps that fail or wait on script."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until, until_async

NO_RETRY = {"retry": {"attempts": 0}, "outlier": {"consecutiveFailures": 0}}
TWO_AT_ONCE = {"min": 2, "max": 2}


class Script:
    """An app that answers `status`, each request when it may."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.may = asyncio.Event()
        self.waiting = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.waiting += 1
        await self.may.wait()
        self.waiting -= 1
        return web.Response(status=self.status)


async def outcome(client: aiohttp.ClientSession, url: str) -> str:
    async with client.get(url) as response:
        await response.read()
        return response.headers.get("x-mesh-error", str(response.status))


@contextlib.asynccontextmanager
async def caller(tmp_path: Path, script: Script, **spec: Any) -> AsyncIterator[tuple[Command, Backend]]:
    """A caller's sidecar with this policy for `app`."""
    async with running_backend(script.answer) as app:
        policy = documents.traffic_policy("app", **NO_RETRY, **spec)
        mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("app", app.address), policy)
        async with running_sidecar(None, "--config", str(mesh), "--outbound", "app=:0") as sidecar:
            yield sidecar, app


async def test_a_service_that_fails_gets_few_requests_until_it_is_back(tmp_path: Path) -> None:
    script = Script(500)
    script.may.set()
    admission = {"window": "1s", "volume": 10}
    async with (
        caller(tmp_path, script, admission=admission) as (sidecar, app),
        aiohttp.ClientSession() as client,
    ):
        url = sidecar.url("outbound:app")
        said = Counter([await outcome(client, url) for _ in range(300)])
        assert said["500"] + said["admission_shed"] == 300
        assert len(app.requests) == said["500"]
        assert 10 < said["500"] < 130, "a fifth goes through"
        assert await metric(sidecar, "mesh_requests_total", flag="AC", status="5xx") == said["admission_shed"]

        explained = await Command.start("sidecar", "explain", "GET", "http://app/", "--admin", sidecar.address("admin"))
        assert await explained.finish() == 0
        assert any("what is over 2 times the good answers is shed" in line for line in explained.lines), explained.lines

        script.status = 200

        async def is_back() -> bool:
            return {await outcome(client, url) for _ in range(30)} == {"200"}

        async with asyncio.timeout(20):
            while not await is_back():
                pass


async def test_answers_below_500_are_no_failures(tmp_path: Path) -> None:
    script = Script(404)
    script.may.set()
    async with (
        caller(tmp_path, script, admission={"volume": 5}) as (sidecar, _),
        aiohttp.ClientSession() as client,
    ):
        assert {await outcome(client, sidecar.url("outbound:app")) for _ in range(100)} == {"404"}


async def test_admission_in_shadow_mode_lets_all_through_and_counts(tmp_path: Path) -> None:
    script = Script(500)
    script.may.set()
    admission = {"volume": 10, "enforcement": "Shadow"}
    async with (
        caller(tmp_path, script, admission=admission) as (sidecar, app),
        aiohttp.ClientSession() as client,
    ):
        assert {await outcome(client, sidecar.url("outbound:app")) for _ in range(60)} == {"500"}
        assert len(app.requests) == 60
        shed = await metric(sidecar, "mesh_shadowed_total", service="app.default", policy="admission")
        assert 20 <= shed <= 50
    lines = [line for line in sidecar.errors.decode().splitlines() if "admission, in shadow mode" in line]
    assert len(lines) == 1, "one line in 10 s"


@contextlib.asynccontextmanager
async def before_app(tmp_path: Path, script: Script, *flags: str, **spec: Any) -> AsyncIterator[Command]:
    """A sidecar of the service `app`, of which this policy holds."""
    async with running_backend(script.answer) as app:
        mesh = documents.write(tmp_path / "mesh.yaml", documents.traffic_policy("app", **spec))
        async with running_sidecar(app.address, "--service", "app", "--config", str(mesh), *flags) as sidecar:
            yield sidecar


async def test_no_more_are_in_flight_to_the_app_than_its_limit(tmp_path: Path) -> None:
    script = Script()
    async with (
        before_app(tmp_path, script, concurrency=TWO_AT_ONCE) as sidecar,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as group,
    ):
        url = sidecar.url("inbound")
        two = [group.create_task(outcome(client, url)) for _ in range(2)]
        await until(lambda: script.waiting == 2)
        async with client.get(url) as response:
            problem = await response.json(content_type="application/problem+json")
            assert (response.status, problem["code"]) == (503, "concurrency_limit")
            assert "Retry-After" not in response.headers, "another instance may have room now"
        async with grpc.aio.insecure_channel(sidecar.address("inbound")) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/shop.v1.Orders/GetOrder")(b"")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await metric(sidecar, "mesh_concurrency_limit", service="app.default") == 2
        assert await metric(sidecar, "mesh_concurrency_in_flight", service="app.default") == 2
        assert await metric(sidecar, "mesh_requests_total", direction="inbound", flag="CL") == 2

        script.may.set()
        assert [await task for task in two] == ["200", "200"]
        assert await outcome(client, url) == "200"
        assert await metric(sidecar, "mesh_concurrency_in_flight", service="app.default") == 0


async def test_the_limit_grows_while_there_is_room_and_falls_when_the_app_gets_slow(tmp_path: Path) -> None:
    latency_s = 0.05

    async def take_time(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(latency_s)
        return web.Response()

    policy = documents.traffic_policy(
        "app",
        concurrency={"min": 1, "window": "50ms", "measureRequests": 5, "measureEvery": "1h", "bufferPercent": 100},
    )
    mesh = documents.write(tmp_path / "mesh.yaml", policy)
    async with (
        running_backend(take_time) as app,
        running_sidecar(app.address, "--service", "app", "--config", str(mesh)) as sidecar,
        aiohttp.ClientSession() as client,
    ):

        async def ask_on() -> None:
            while True:
                if await outcome(client, sidecar.url("inbound")) != "200":
                    await asyncio.sleep(0.01)

        async def limit_is(low: int, high: int) -> bool:
            return low <= await metric(sidecar, "mesh_concurrency_limit", service="app.default") <= high

        asking = [asyncio.create_task(ask_on()) for _ in range(4)]
        try:
            await until_async(lambda: limit_is(20, 1000))
            latency_s = 0.5
            await until_async(lambda: limit_is(1, 6))
        finally:
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)


@contextlib.asynccontextmanager
async def two_instances(tmp_path: Path, apps: list[str], **spec: Any) -> AsyncIterator[Command]:
    """A caller's sidecar; that of each instance is before the app of this address."""
    own = documents.write(tmp_path / "own.yaml", documents.traffic_policy("app", **spec))
    async with contextlib.AsyncExitStack() as stack:
        sidecars = [
            await stack.enter_async_context(running_sidecar(app, "--service", "app", "--config", str(own)))
            for app in apps
        ]
        addresses = [sidecar.address("inbound") for sidecar in sidecars]
        policy = documents.traffic_policy("app", balancer={"type": "RoundRobin"})
        mesh = documents.write(tmp_path / "mesh.yaml", documents.endpoints("app", *addresses), policy)
        yield await stack.enter_async_context(running_sidecar(None, "--config", str(mesh), "--outbound", "app=:0"))


async def test_a_post_that_a_full_instance_turns_away_is_done_once_by_another(tmp_path: Path) -> None:
    slow, quick = Script(), Script()
    quick.may.set()
    async with (
        running_backend(slow.answer) as first,
        running_backend(quick.answer) as second,
        two_instances(tmp_path, [first.address, second.address], concurrency={"min": 1, "max": 1}) as caller,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as group,
    ):
        url = caller.url("outbound:app")

        async def order() -> int:
            async with client.post(url, data=b"one") as response:
                return response.status

        held = group.create_task(order())
        await until(lambda: slow.waiting or held.done())
        if held.done():
            held = group.create_task(order())
            await until(lambda: slow.waiting)
        done = len(second.requests)
        assert [await order() for _ in range(100)] == [200] * 100
        assert (len(first.requests), len(second.requests)) == (1, done + 100)
        retries = await metric(caller, "mesh_retries_total", service="app.default", reason="refused stream")
        assert 1 <= retries <= 50, "one each time that it is asked whether it has room again"
        assert await metric(caller, "mesh_ejections_total") == 0, "who is full is not broken"
        slow.may.set()
        assert await held == 200


async def test_a_post_is_done_elsewhere_when_the_app_of_an_instance_is_gone(tmp_path: Path) -> None:
    script = Script()
    script.may.set()
    async with (
        running_backend(script.answer) as app,
        two_instances(tmp_path, [f"127.0.0.1:{free_port()}", app.address]) as caller,
        aiohttp.ClientSession() as client,
    ):
        for _ in range(20):
            async with client.post(caller.url("outbound:app"), data=b"one") as response:
                assert response.status == 200
        assert len(app.requests) == 20
        assert await metric(caller, "mesh_ejections_total", service="app.default") == 1, "it is broken"


async def test_the_limit_follows_the_file_with_requests_in_flight(tmp_path: Path) -> None:
    script = Script()
    async with (
        before_app(tmp_path, script, concurrency=TWO_AT_ONCE) as sidecar,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as group,
    ):
        url = sidecar.url("inbound")
        for _ in range(2):
            group.create_task(outcome(client, url))
        await until(lambda: script.waiting == 2)
        three = {"min": 3, "max": 3}
        documents.write(tmp_path / "mesh.yaml", documents.traffic_policy("app", concurrency=three))
        sidecar.process.send_signal(signal.SIGHUP)
        await until(lambda: b"is in use" in sidecar.errors)
        group.create_task(outcome(client, url))
        await until(lambda: script.waiting == 3)
        assert await outcome(client, url) == "concurrency_limit", "those in flight were not forgotten"

        documents.write(tmp_path / "mesh.yaml", documents.traffic_policy("app"))
        sidecar.process.send_signal(signal.SIGHUP)
        await until(lambda: sidecar.errors.count(b"is in use") == 2)
        group.create_task(outcome(client, url))
        await until(lambda: script.waiting == 4)
        script.may.set()


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
async def test_concurrency_in_shadow_mode_lets_all_through_and_counts(tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = Script()
    shadow = {"min": 1, "max": 1, "enforcement": "Shadow"}
    async with (
        before_app(tmp_path, script, *flags, concurrency=shadow) as sidecar,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as group,
    ):
        url = sidecar.url("inbound")
        tasks = [group.create_task(outcome(client, url)) for _ in range(5)]
        await until(lambda: script.waiting == 5)
        assert await metric(sidecar, "mesh_concurrency_in_flight", service="app.default") == 5
        script.may.set()
        assert {await task for task in tasks} == {"200"}
        shadowed = await metric(sidecar, "mesh_shadowed_total", service="app.default", policy="concurrency")
        assert shadowed == 4 if not flags else 3 <= shadowed <= 4


async def test_a_tunnel_takes_a_place_only_until_it_is_open(tmp_path: Path) -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    one = {"min": 1, "max": 1}
    async with running_backend(chat) as app:
        mesh = documents.write(tmp_path / "mesh.yaml", documents.traffic_policy("app", concurrency=one))
        async with (
            running_sidecar(app.address, "--service", "app", "--config", str(mesh)) as sidecar,
            aiohttp.ClientSession() as client,
            client.ws_connect(sidecar.url("inbound")) as first,
            client.ws_connect(sidecar.url("inbound")) as second,
        ):
            for socket in (first, second):
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
            assert await metric(sidecar, "mesh_concurrency_in_flight", service="app.default") == 0


async def test_what_cannot_hold_is_refused(tmp_path: Path) -> None:
    from tests.support.process import refused

    policy = documents.traffic_policy("app", concurrency={"min": 9, "max": 3})
    mesh = documents.write(tmp_path / "mesh.yaml", policy)
    said = await refused("run", "--config", str(mesh))
    assert "spec.concurrency.min: 9 is more than max, 3" in said
