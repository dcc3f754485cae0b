"""How a sidecar ends: without a wait when there is nobody to wait for, at once when it is told twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from remora.control.store.memory import MemoryStore
from tests.support.backend import running_backend
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar
from tests.support.push import PushControl, push_control
from tests.support.relay import Relay
from tests.support.waiting import until
from tests.support.workers import status

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])

AWAY = b"Control is away and was not told that this instance stops"
TIMED_OUT = b"Control did not confirm within 5 s"
"""Said when the wait for an answer has run its full time; whoever has not said so has not waited for it."""
LONGER_THAN_AWAY_S = 1.0
"""Control that is away is given up after half of it."""


async def ok(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


@asynccontextmanager
async def registering(tmp_path: Path, control: str, *flags: str) -> AsyncIterator[Command]:
    """A sidecar of the service `orders`."""
    joined = ("--service", "orders", "--control", control, "--state-dir", str(tmp_path), *flags)
    async with running_backend(ok) as app, running_sidecar(app.address, *joined) as sidecar:
        yield sidecar


async def registration_is(sidecar: Command, phase: str) -> None:
    async with asyncio.timeout(30):
        while ((await status(sidecar))["registration"] or {}).get("phase") != phase:
            await asyncio.sleep(0.02)


async def stopped(sidecar: Command, number: signal.Signals) -> bytes:
    """What it has said when it has ended as it should."""
    assert await sidecar.stop(number) == 0
    assert b"Traceback" not in sidecar.errors
    return sidecar.errors


@SIGNALS
@WORKERS
async def test_control_that_was_never_there_is_not_waited_for(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    async with registering(tmp_path, f"127.0.0.1:{free_port()}", "--workers", workers) as sidecar:
        async with asyncio.timeout(30):
            while not (await status(sidecar))["control"]["last_error"]:
                await asyncio.sleep(0.02)
        await registration_is(sidecar, "registering")
        said = await stopped(sidecar, number)
        assert AWAY in said
        assert TIMED_OUT not in said


@SIGNALS
async def test_control_that_went_away_is_not_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    control = PushControl(MemoryStore())
    await control.start()
    async with registering(tmp_path, str(control.address)) as sidecar:
        await registration_is(sidecar, "registered")
        await control.stop()
        async with asyncio.timeout(30):
            while (await status(sidecar))["control"]["connected"]:
                await asyncio.sleep(0.02)
        said = await stopped(sidecar, number)
        assert AWAY in said
        assert TIMED_OUT not in said


async def test_control_that_is_there_is_told(tmp_path: Path) -> None:
    async with push_control(MemoryStore()) as control, registering(tmp_path, str(control.address)) as sidecar:
        await registration_is(sidecar, "registered")
        await until(lambda: control.catalog.endpoint_sets)
        assert b" is deregistered." in await stopped(sidecar, signal.SIGTERM)
        await until(lambda: not control.catalog.endpoint_sets)


@SIGNALS
async def test_control_that_hangs_is_waited_for_until_the_second_signal(tmp_path: Path, number: signal.Signals) -> None:
    async with push_control(MemoryStore()) as control:
        async with Relay.to(control.port) as relay, registering(tmp_path, relay.address) as sidecar:
            await registration_is(sidecar, "registered")
            relay.freeze()
            sidecar.process.send_signal(number)
            await has_said(sidecar, b"draining")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(sidecar.process.wait()), LONGER_THAN_AWAY_S)
            said = await stopped(sidecar, number)
            assert b"a second time" in said
            assert TIMED_OUT not in said


async def test_control_that_hangs_is_not_waited_for_long(tmp_path: Path) -> None:
    async with push_control(MemoryStore()) as control:
        async with Relay.to(control.port) as relay, registering(tmp_path, relay.address) as sidecar:
            await registration_is(sidecar, "registered")
            relay.freeze()
            said = await stopped(sidecar, signal.SIGTERM)
            assert TIMED_OUT in said
            assert b"its lease ends after 15 s" in said


async def has_said(sidecar: Command, words: bytes) -> None:
    async with asyncio.timeout(30):
        while words not in sidecar.errors:
            await asyncio.sleep(0.01)


async def test_a_second_signal_cuts_off_what_is_live(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(60)
        return web.Response(text="late")

    async with running_backend(hang) as app, running_sidecar(app.address) as sidecar, aiohttp.ClientSession() as client:
        request = asyncio.create_task(client.get(sidecar.url("inbound")))
        await asked.wait()
        sidecar.process.send_signal(signal.SIGTERM)
        await has_said(sidecar, b"draining")
        said = await stopped(sidecar, signal.SIGTERM)
        assert b"a second time" in said
        assert b"requests were still live" not in said
        with pytest.raises(aiohttp.ClientError):
            await request
