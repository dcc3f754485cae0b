"""A sidecar holds as many connections as the system allows, idle ones too, and what stays idle stays served."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.support.backend import running_backend
from tests.support.process import running_sidecar

TIMEOUT_S = 30
SOFT_LIMIT = 256
CONNECTIONS = 400


@contextlib.contextmanager
def few_open_files() -> Iterator[None]:
    """Processes that are started in it are allowed few of them at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def hello(_: web.Request) -> web.StreamResponse:
    return web.Response(text="hello")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("workers", [1, 2])
async def test_connections_beyond_the_soft_limit_of_open_files_are_held_and_served(workers: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(running_backend(hello))
        with few_open_files():
            started = running_sidecar(app.address, "--workers", str(workers))
            sidecar = await stack.enter_async_context(started)
        pairs = []
        async with asyncio.timeout(TIMEOUT_S):
            for _ in range(CONNECTIONS):
                reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
                stack.callback(writer.close)
                await ask(reader, writer)
                pairs.append((reader, writer))
            for reader, writer in pairs:
                await ask(reader, writer)
