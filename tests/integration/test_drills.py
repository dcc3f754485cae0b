"""Failure drills: three instances, each behind its own sidecar, of which one fails; a caller behind another sidecar.

What the caller sees, what the apps executed and what the mesh counted must agree to the last request, and a POST is
executed exactly once whatever happens.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from remora.sidecar.policy.retry_budget import WINDOW_S
from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.process import Command, running_sidecar

BROKEN_OFF = 0
"""Stands for the status of an answer that ended in the middle."""
EJECTED_AFTER = 5
"""Failures in a row."""
NORMAL_S = 0.05

Fault = Callable[["App", web.Request], Awaitable[web.StreamResponse]]
METHODS = pytest.mark.parametrize("method", ["GET", "POST"])


class App:
    """One instance; it notes what it has executed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.executed: list[str] = []
        self.fault: Fault | None = None
        self.release = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.executed.append(request.headers["x-id"])
        if self.fault is not None:
            return await self.fault(self, request)
        return web.Response(text=self.name)


class Drill:
    """The mesh around three apps."""

    def __init__(
        self, apps: list[App], backends: list[Backend], sidecars: list[Command], callers: list[Command]
    ) -> None:
        self.apps = apps
        self.backends = backends
        self.sidecars = sidecars
        self.callers = callers
        self._ids = 0

    @property
    def executed(self) -> Counter[str]:
        """How often each request was executed."""
        return Counter(each for app in self.apps for each in app.executed)

    async def send(self, method: str, requests: int, at_once: int = 1) -> Counter[int]:
        """Statuses of so many requests, of which so many are under way at a time, from all callers in turn."""
        statuses: Counter[int] = Counter()
        left = iter(range(requests))
        async with AsyncExitStack() as stack:

            async def go_on(caller: Command) -> None:
                client = await stack.enter_async_context(aiohttp.ClientSession(caller.url("outbound:orders")))
                for _ in left:
                    statuses[await self._ask(client, method)] += 1

            await asyncio.gather(*[go_on(self.callers[number % len(self.callers)]) for number in range(at_once)])
        return statuses

    async def _ask(self, client: aiohttp.ClientSession, method: str) -> int:
        self._ids += 1
        try:
            async with client.request(method, "/", headers={"x-id": str(self._ids)}) as response:
                await response.read()
                return response.status
        except aiohttp.ClientPayloadError:
            return BROKEN_OFF

    async def counted(self, metric: str) -> Counter[str]:
        """What the callers' sidecars have counted, by reason."""
        counted: Counter[str] = Counter()
        async with aiohttp.ClientSession() as client:
            for caller in self.callers:
                async with client.get(caller.url("metrics") + "/metrics") as response:
                    for family in text_string_to_metric_families(await response.text()):
                        for sample in family.samples:
                            if sample.name == metric:
                                counted[sample.labels.get("reason", "")] += int(sample.value)
        return counted


@asynccontextmanager
async def drilled(tmp_path: Path, callers: int = 1, **policy: Any) -> AsyncIterator[Drill]:
    apps = [App(name) for name in "abc"]
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(running_backend(app.handle)) for app in apps]
        starts = [stack.enter_async_context(running_sidecar(backend.address)) for backend in backends]
        sidecars = await asyncio.gather(*starts)
        policy.setdefault("balancer", {"type": "RoundRobin"})
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("orders", *[sidecar.address("inbound") for sidecar in sidecars]),
            documents.traffic_policy("orders", **policy),
        )
        flags = ("--config", str(config), "--outbound", "orders=127.0.0.1:0")
        calling = [stack.enter_async_context(running_sidecar(None, *flags)) for _ in range(callers)]
        try:
            yield Drill(apps, backends, list(sidecars), list(await asyncio.gather(*calling)))
        finally:
            for app in apps:
                app.release.set()


def once(requests: int) -> Counter[str]:
    """Each of so many was executed once."""
    return Counter({str(number): 1 for number in range(1, requests + 1)})


async def answer_500_to_one_in_five(app: App, request: web.Request) -> web.StreamResponse:
    return web.Response(status=500 if len(app.executed) % 5 == 0 else 200)


async def hang(app: App, request: web.Request) -> web.StreamResponse:
    await app.release.wait()
    return web.Response()


async def reset_before_an_answer(app: App, request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def reset_in_the_middle(app: App, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 500)
    assert request.transport is not None
    request.transport.abort()
    return response


async def answer_503(app: App, request: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


async def answer_503_late(app: App, request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(NORMAL_S)
    return web.Response(status=503)


@METHODS
async def test_one_answers_500_to_a_fifth_of_its_requests(tmp_path: Path, method: str) -> None:
    async with drilled(tmp_path, retry={"codes": [500, 502, 503, 504]}) as drill:
        failing = drill.apps[0]
        failing.fault = answer_500_to_one_in_five
        statuses = await drill.send(method, 300)
        failures = len(failing.executed) // 5
        assert failures >= 19
        if method == "GET":
            assert statuses == {200: 300}
            assert drill.executed.total() == 300 + failures
            assert await drill.counted("mesh_retries_total") == {"retriable status": failures}
        else:
            assert statuses == {200: 300 - failures, 500: failures}
            assert drill.executed == once(300)
            assert not await drill.counted("mesh_retries_total")
        assert not await drill.counted("mesh_ejections_total"), "four of five go well"


@METHODS
async def test_one_hangs(tmp_path: Path, method: str) -> None:
    """After five failures in a row it is ejected, and gets no more requests."""
    async with drilled(tmp_path, retry={"perTryTimeout": "300ms"}) as drill:
        failing = drill.apps[0]
        failing.fault = hang
        statuses = await drill.send(method, 60)
        assert len(failing.executed) == EJECTED_AFTER
        assert (await drill.counted("mesh_ejections_total")).total() == 1
        if method == "GET":
            assert statuses == {200: 60}
            assert await drill.counted("mesh_retries_total") == {"no answer in time": EJECTED_AFTER}
            assert drill.executed.total() == 60 + EJECTED_AFTER
        else:
            assert statuses == {200: 60 - EJECTED_AFTER, 504: EJECTED_AFTER}
            assert not await drill.counted("mesh_retries_total")
            assert drill.executed == once(60)


@METHODS
async def test_one_resets_before_it_answers(tmp_path: Path, method: str) -> None:
    """Its own sidecar does not try again: that is for the caller's, at another one."""
    async with drilled(tmp_path) as drill:
        failing = drill.apps[0]
        failing.fault = reset_before_an_answer
        statuses = await drill.send(method, 60)
        assert (await drill.counted("mesh_ejections_total")).total() == 1
        if method == "GET":
            assert statuses == {200: 60}
            assert len(failing.executed) == EJECTED_AFTER
            assert await drill.counted("mesh_retries_total") == {"retriable status": EJECTED_AFTER}
            assert drill.executed.total() == 60 + EJECTED_AFTER
        else:
            assert statuses == {200: 60 - EJECTED_AFTER, 503: EJECTED_AFTER}
            assert not await drill.counted("mesh_retries_total")
            assert drill.executed == once(60)


@METHODS
async def test_one_resets_in_the_middle_of_its_answers(tmp_path: Path, method: str) -> None:
    """What has begun to arrive is not tried again: the caller sees that it is not whole."""
    async with drilled(tmp_path) as drill:
        failing = drill.apps[0]
        failing.fault = reset_in_the_middle
        assert await drill.send(method, 60) == {200: 60 - EJECTED_AFTER, BROKEN_OFF: EJECTED_AFTER}
        assert len(failing.executed) == EJECTED_AFTER
        assert drill.executed == once(60)
        assert not await drill.counted("mesh_retries_total")
        assert (await drill.counted("mesh_ejections_total")).total() == 1


@METHODS
@pytest.mark.parametrize("at_once", [1, 30])
async def test_one_refuses_connections(tmp_path: Path, method: str, at_once: int) -> None:
    """Nothing was sent, so a POST too goes elsewhere; and so do all that come at once: no app gets more for that."""
    async with drilled(tmp_path) as drill:
        drill.sidecars[0].process.kill()
        await drill.sidecars[0].process.wait()
        assert await drill.send(method, 60, at_once) == {200: 60}
        assert drill.executed == once(60)
        retries = await drill.counted("mesh_retries_total")
        assert set(retries) == {"connect failure"}
        assert 1 <= retries.total() <= max(EJECTED_AFTER, at_once)


@METHODS
@pytest.mark.parametrize("at_once", [1, 30])
async def test_one_app_is_gone_behind_its_sidecar(tmp_path: Path, method: str, at_once: int) -> None:
    """Its sidecar says that the app was not given the request."""
    async with drilled(tmp_path) as drill:
        await drill.backends[0].stop()
        assert await drill.send(method, 60, at_once) == {200: 60}
        assert drill.executed == once(60)
        retries = await drill.counted("mesh_retries_total")
        assert set(retries) == {"connect failure"}
        assert EJECTED_AFTER <= retries.total() <= max(EJECTED_AFTER, at_once)
        assert (await drill.counted("mesh_ejections_total")).total() == 1


@METHODS
async def test_one_dies_in_the_middle_of_traffic(tmp_path: Path, method: str) -> None:
    """Requests that were on their way to it: a GET is tried elsewhere, of a POST nobody knows, so it is not."""
    policy = {"retry": {"budget": {"minimum": 20}}}
    async with drilled(tmp_path, **policy) as drill:
        dying, sidecar = drill.apps[0], drill.sidecars[0]

        async def die_at_the_tenth(app: App, request: web.Request) -> web.StreamResponse:
            if len(app.executed) >= 10:
                sidecar.process.kill()
                await app.release.wait()
            return web.Response()

        dying.fault = die_at_the_tenth
        statuses = await drill.send(method, 300, at_once=10)
        if method == "GET":
            assert statuses == {200: 300}
        else:
            assert set(statuses) == {200, 503}
            assert statuses[503] <= 10
            assert not [each for each, times in drill.executed.items() if times > 1]


@METHODS
async def test_one_takes_ten_times_as_long(tmp_path: Path, method: str) -> None:
    """Hedges keep the brown-out of one from callers; a POST waits."""
    normal_s, slow_s = 0.2, 2.0

    async def take(seconds: float) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response()

    policy = {"hedging": {"delay": "700ms"}, "retry": {"budget": {"minimum": 10}}}
    async with drilled(tmp_path, **policy) as drill:
        slow, *others = drill.apps
        slow.fault = lambda app, request: take(slow_s)
        for app in others:
            app.fault = lambda app, request: take(normal_s)
        before = asyncio.get_running_loop().time()
        assert await drill.send(method, 30, at_once=30) == {200: 30}
        seconds = asyncio.get_running_loop().time() - before
        assert len(slow.executed) == 10
        if method == "GET":
            assert await drill.counted("mesh_retries_total") == {"hedge": 10}
            assert drill.executed.total() == 40
            assert seconds < slow_s
        else:
            assert drill.executed == once(30)
            assert seconds >= slow_s


@pytest.mark.parametrize(
    ("method", "fault", "callers", "at_once"),
    [
        ("GET", answer_503, 1, 1),
        ("GET", answer_503, 1, 3),
        ("GET", answer_503, 4, 4),
        ("GET", answer_503, 1, 100),
        ("GET", answer_503_late, 4, 8),
        ("GET", answer_503_late, 1, 100),
        ("GET", hang, 4, 100),
        ("POST", answer_503, 1, 3),
        ("POST", hang, 1, 100),
    ],
)
async def test_a_storm_of_retries_is_held_to_a_fifth(
    tmp_path: Path, method: str, fault: Fault, callers: int, at_once: int
) -> None:
    """All instances fail, at once, late or never. Without the budget each request would be executed three times."""
    requests, status = 600, 504 if fault is hang else 503
    async with drilled(tmp_path, callers, retry={"perTryTimeout": "250ms" if fault is hang else "0s"}) as drill:
        for app in drill.apps:
            app.fault = fault
        began = time.monotonic()
        assert await drill.send(method, requests, at_once) == {status: requests}
        load, seconds = drill.executed.total(), time.monotonic() - began
        if method == "GET":
            # On a machine so slow that a caller sends less than five requests a second, one retry a second counts.
            slack = 0 if seconds < WINDOW_S else callers * seconds
            assert requests < load <= 1.2 * requests + slack
            assert (await drill.counted("mesh_retries_total")).total() == load - requests
            assert (await drill.counted("mesh_retries_denied_total")).total() > requests / 2
        else:
            assert drill.executed == once(requests)
            assert not await drill.counted("mesh_retries_total")
