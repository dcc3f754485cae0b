"""Sidecars with several workers, as their pages and the system show them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import psutil

from tests.support.process import Command

DEADLINE_S = 30


async def status(sidecar: Command) -> dict[str, Any]:
    """The /status page."""
    async with aiohttp.ClientSession() as client, client.get(sidecar.url("admin") + "/status") as response:
        found: dict[str, Any] = await response.json()
        return found


async def workers(sidecar: Command) -> list[dict[str, Any]]:
    """Each worker as /status shows it."""
    found: list[dict[str, Any]] = (await status(sidecar))["workers"]
    return found


async def workers_when(sidecar: Command, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The workers, once `holds` is true of them."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds(found := await workers(sidecar)):
            await asyncio.sleep(0.02)
    return found


def processes(sidecar: Command) -> list[psutil.Process]:
    """All processes below the sidecar's own."""
    return psutil.Process(sidecar.process.pid).children(recursive=True)


async def kill_and_wait(sidecar: Command, number: int) -> None:
    """Kill a worker, and wait until another has its place."""
    victim = (await workers(sidecar))[number]
    (process,) = [found for found in processes(sidecar) if found.pid == victim["pid"]]
    process.kill()

    def replaced(found: list[dict[str, object]]) -> bool:
        return found[number]["state"] == "up" and found[number]["pid"] != victim["pid"]

    await workers_when(sidecar, replaced)


async def gone(found: list[psutil.Process]) -> None:
    """Wait until none of them runs any more; kills what is left after the deadline, and fails."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, found, 10)
    for process in alive:
        process.kill()
    assert not alive
