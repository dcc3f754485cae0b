"""A whole mesh of real processes on a real etcd: control, and what joins it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.etcd import EtcdServer
from tests.support.ports import free_ports
from tests.support.process import Command, running_sidecar

TIMEOUT_S = 30


class Mesh:
    """etcd and control; instances and callers join it."""

    def __init__(self, stack: AsyncExitStack, etcd: EtcdServer, state: Path) -> None:
        self._stack = stack
        self.etcd = etcd
        self._state = state
        self._grpc, self._http = free_ports(2)
        self.control: Command | None = None
        self.client = aiohttp.ClientSession()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._grpc}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self._http}"

    async def start_control(self) -> None:
        flags = ("--grpc", self.address, "--http", f"127.0.0.1:{self._http}", "--env", "test")
        self.control = await Command.start("control", "run", "--etcd", self.etcd.url, *flags)
        await self.control.wait_listening("grpc", "http")

    async def kill_control(self) -> None:
        assert self.control is not None
        await self.control.stop(signal.SIGKILL)

    async def run_control(self, command: str, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """A command of `control` as people give it: (status, stdout, stderr)."""
        file = self._state / "input.yaml"
        file.write_text(stdin)
        started = await Command.start("control", command, *arguments, "--control", self.rest)
        status = await started.finish()
        return status, "\n".join(started.lines), started.errors.decode()

    async def apply(self, *wanted: dict[str, Any]) -> None:
        file = documents.write(self._state / "apply.yaml", *wanted)
        status, _, errors = await self.run_control("apply", "-f", str(file))
        assert status == 0, errors

    async def instance(self, service: str, version: str, answer: str, *flags: str) -> tuple[Backend, Command]:
        """An app that says `answer`, and the sidecar that registers it."""

        async def say(request: web.Request) -> web.StreamResponse:
            return web.Response(text=answer)

        backend = await self._stack.enter_async_context(running_backend(say))
        sidecar = await self.sidecar(
            backend.address, "--service", service, "--version", version, "--health", "http:/healthz", *flags
        )
        return backend, sidecar

    async def sidecar(self, upstream: str | None, *flags: str) -> Command:
        name = f"state-{len(list(self._state.iterdir()))}"
        (self._state / name).mkdir()
        joined = ("--control", self.address, "--state-dir", str(self._state / name), *flags)
        return await self._stack.enter_async_context(running_sidecar(upstream, *joined))

    async def status(self) -> dict[str, Any]:
        async with self.client.get(self.rest + "/api/v1/status") as response:
            found: dict[str, Any] = await response.json()
            return found

    async def get(self, url: str) -> tuple[int, str]:
        async with self.client.get(url) as response:
            return response.status, await response.text()


@asynccontextmanager
async def running_mesh(state: Path) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(EtcdServer.running())
        mesh = Mesh(stack, etcd, state)
        try:
            await mesh.start_control()
            yield mesh
        finally:
            await mesh.client.close()
            if mesh.control is not None:
                await mesh.control.stop(signal.SIGKILL)


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again until it holds."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {TIMEOUT_S} s: {what}") from None
