"""A sidecar between a client and a server that both speak HTTP/2 by h2 (python-hyper)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.h2_peer import Call, Headers, Peer, PeerSettings, Serve, Server, h2_client, h2_server
from tests.support.process import Command, running_sidecar

OK: Headers = [(b":status", b"200")]


@asynccontextmanager
async def between(
    serve: Serve, *, server: PeerSettings | None = None, client: PeerSettings | None = None
) -> AsyncIterator[tuple[Peer, Server, Command]]:
    """A client's connection to a sidecar before a server that runs `serve` for each request."""
    async with (
        h2_server(serve, server) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound"), client) as peer,
    ):
        yield peer, app, sidecar


async def echo(call: Call) -> None:
    """Answer with what comes, once all of it has."""
    await call.finish()
    call.send_headers(OK)
    await call.send_data(call.data, end=True)


async def greet(call: Call) -> None:
    call.send_headers(OK)
    await call.send_data(b"hello", end=True)
