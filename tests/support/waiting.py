"""Waiting for what shows in no event, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE_S = 30.0


async def until(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until `holds()` is true; fails after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not holds():
            await asyncio.sleep(0.005)


async def until_async(holds: Callable[[], Awaitable[object]], deadline_s: float = DEADLINE_S) -> None:
    """Wait until `await holds()` is true; fails after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not await holds():
            await asyncio.sleep(0.005)
