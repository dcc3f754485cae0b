"""What processes under test hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from tests.support.process import Command


class Memory:
    """The most that a process has held since it began to be watched."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.first = self.peak = self._process.memory_info().rss

    @property
    def growth(self) -> int:
        return self.peak - self.first

    async def watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._process.memory_info().rss)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def memory_of(sidecar: Command) -> AsyncIterator[Memory]:
    memory = Memory(sidecar.process.pid)
    watching = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        watching.cancel()
