"""Outlier ejection over real sockets: who is left out, for how long, and who comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import running_backend
from tests.support.grpc_app import Echo, meshed
from tests.support.mesh import metric
from tests.support.process import Command, running_sidecar

DEADLINE_S = 60.0


class Instance:
    """Fails as often as it is told, and notes when it was asked."""

    def __init__(self) -> None:
        self.fails_each = 0
        """0: never."""
        self.asked: list[float] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.asked.append(time.monotonic())
        fails = self.fails_each and len(self.asked) % self.fails_each == 0
        return web.Response(status=500 if fails else 200)


@asynccontextmanager
async def watched(tmp_path: Path, **outlier: Any) -> AsyncIterator[tuple[list[Instance], Command]]:
    """Three instances in turns, without retries."""
    instances = [Instance() for _ in range(3)]
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(running_backend(instance.answer)) for instance in instances]
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("orders", *[backend.address for backend in backends]),
            documents.traffic_policy("orders", balancer={"type": "RoundRobin"}, outlier=outlier),
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        yield instances, await stack.enter_async_context(running_sidecar(None, *flags))


async def test_an_instance_that_keeps_failing_is_left_out_for_longer_each_time(tmp_path: Path) -> None:
    async with watched(tmp_path, consecutiveFailures=3, baseEjection="1s") as (instances, caller):
        failing = instances[0]
        failing.fails_each = 1
        async with aiohttp.ClientSession() as client:
            before = time.monotonic()
            while len(failing.asked) < 7:
                assert time.monotonic() - before < DEADLINE_S
                async with client.post(caller.url("outbound:orders")) as response:
                    assert response.status in (200, 500)
        first, second = (failing.asked[number] - failing.asked[number - 1] for number in (3, 6))
        assert first >= 1.0
        assert second >= 2.0
        assert await metric(caller, "mesh_ejections_total", service="orders.default") == 2


async def test_one_that_succeeds_less_than_the_others_is_left_out(tmp_path: Path) -> None:
    """It never fails twice in a row."""
    rate = {"interval": "500ms", "minEndpoints": 3, "volume": 5, "deviationPercent": 100}
    async with watched(tmp_path, successRate=rate) as (instances, caller):
        failing, *others = instances
        failing.fails_each = 2
        async with aiohttp.ClientSession() as client:
            before = time.monotonic()
            while not await metric(caller, "mesh_ejections_total"):
                assert time.monotonic() - before < DEADLINE_S
                for _ in range(15):
                    async with client.post(caller.url("outbound:orders")) as response:
                        assert response.status in (200, 500)
            left_out = len(failing.asked)
            for _ in range(12):
                async with client.post(caller.url("outbound:orders")) as response:
                    assert response.status == 200
        assert len(failing.asked) == left_out
        assert {len(other.asked) > left_out for other in others} == {True}


async def test_no_more_than_a_share_is_left_out(tmp_path: Path) -> None:
    """All fail: one of three may be ejected, the others have to do."""
    async with watched(tmp_path, consecutiveFailures=1, maxEjectedPercent=50) as (instances, caller):
        for instance in instances:
            instance.fails_each = 1
        async with aiohttp.ClientSession() as client:
            for _ in range(30):
                async with client.post(caller.url("outbound:orders")) as response:
                    assert response.status == 500
        assert sorted(len(instance.asked) for instance in instances)[0] == 1
        assert sum(len(instance.asked) for instance in instances) == 30
        assert await metric(caller, "mesh_ejections_total") == 1


class Failing(Echo):
    """Each call ends with a status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__()
        self._status = status

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.calls.append("Unary")
        await context.abort(self._status, "told to")
        raise AssertionError


@pytest.mark.parametrize(
    ("status", "speaks_against_it"),
    [
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.INTERNAL, True),
        (grpc.StatusCode.DATA_LOSS, True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, True),
        (grpc.StatusCode.NOT_FOUND, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
    ],
)
async def test_which_grpc_statuses_speak_against_an_instance(
    tmp_path: Path, status: grpc.StatusCode, speaks_against_it: bool
) -> None:
    failing, well = Failing(status), Echo()
    async with meshed(tmp_path, failing, well, outlier={"consecutiveFailures": 3}) as (channel, caller):
        codes: Counter[grpc.StatusCode] = Counter()
        for _ in range(20):
            call = channel.unary_unary("/echo.Echo/Unary")(b"", timeout=10)
            codes[await call.code()] += 1
        failures = 3 if speaks_against_it else 10
        assert len(failing.calls) == failures
        assert codes == {status: failures, grpc.StatusCode.OK: 20 - failures}
        assert await metric(caller, "mesh_ejections_total", service="echo.default") == speaks_against_it
