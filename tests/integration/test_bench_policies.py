"""The policies that the bench configures are at work in each proxy, though the bench never hits them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bench.backends import SMALL_PATH, Address
from bench.contestants import base
from bench.contestants.base import Contestant, Hop, Job
from bench.contestants.envoy import Envoy
from bench.contestants.remora import Remora
from tests.support.backend import running_backend

LIMIT = 2
MANY = 12
"""Well over the bucket, and what fills it again within the time that they take."""

WITH_POLICIES = [pytest.param(kind(), id=kind.name if kind is Envoy else "Remora") for kind in (Remora, Envoy)]


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def statuses(contestant: Contestant, folder: Path, hop: Hop, headers: dict[str, str]) -> list[int]:
    async with running_backend(answer) as backend, aiohttp.ClientSession() as client:
        job = Job("http1", Address(backend.port), hop, 0, folder)
        started = await asyncio.to_thread(contestant.start, job)
        try:
            url = f"http://{started.address}{SMALL_PATH}"
            found = []
            for _ in range(MANY):
                async with client.get(url, headers=headers) as response:
                    found.append(response.status)
            return found
        finally:
            if started.process is not None:
                await asyncio.to_thread(started.process.stop)


@pytest.mark.parametrize("hop", ["first", "second"])
@pytest.mark.parametrize("contestant", WITH_POLICIES)
async def test_the_rate_limit_counts(
    contestant: Contestant, hop: Hop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := contestant.missing():
        pytest.skip(missing)
    monkeypatch.setattr(base, "RATE_LIMIT", LIMIT)
    started = time.monotonic()

    found = await statuses(contestant, tmp_path, hop, {})

    passed = found.count(200)
    assert set(found) == {200, 429}
    assert LIMIT <= passed <= LIMIT * (2 + time.monotonic() - started)


@pytest.mark.parametrize("contestant", WITH_POLICIES)
async def test_faults_look_at_each_request(contestant: Contestant, tmp_path: Path) -> None:
    if missing := contestant.missing():
        pytest.skip(missing)

    assert set(await statuses(contestant, tmp_path, "first", {base.FAULT_HEADER: "yes"})) == {503}
    assert set(await statuses(contestant, tmp_path, "first", {})) == {200}
