"""Upstreams that do as the test says, byte by byte where it matters."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from aiohttp import web

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Backend:
    """An aiohttp app whose every request goes to `script`; counts what came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[web.BaseRequest] = []
        self.port = 0
        self.site: web.TCPSite | None = None
        self.server: web.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Take no more connections, and end those that there are."""
        assert self.site is not None
        assert self.server is not None
        await self.site.stop()
        await self.server.shutdown(0.1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        return await self.script(request)  # type: ignore[arg-type]


@asynccontextmanager
async def running_backend(script: Script, port: int = 0) -> AsyncIterator[Backend]:
    """A backend on a port of its own."""
    backend = Backend(script)
    backend.server = web.Server(backend.handle)
    runner = web.ServerRunner(backend.server, shutdown_timeout=0.1)
    await runner.setup()
    backend.site = web.TCPSite(runner, "127.0.0.1", port)
    await backend.site.start()
    backend.port = runner.addresses[0][1]
    try:
        yield backend
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_raw_server(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server that says what `converse` says, to the byte; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def https_server(tmp_path: Path) -> AsyncIterator[tuple[int, Path]]:
    """An aiohttp server behind TLS for `localhost`; its port, and the CA to check it by."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=f"{request.scheme} {request.host} {len(await request.read())}")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1], ca
    finally:
        await runner.cleanup()
