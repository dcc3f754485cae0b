"""A listening socket and the connections that came by it; each is HTTP/1.1 or HTTP/2, by its first bytes."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import cast

from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.http2 import PREFACE, Http2ServerConnection
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import RequestHandlerFactory, ServerConnection

log = logging.getLogger(__name__)

BACKLOG = 2048


class ListenError(Exception):
    """A port cannot be listened on; the text says which and what to do."""


class Listener:
    """One port. `start` opens it; `drain` asks its connections to end; `abort` ends them."""

    def __init__(
        self,
        name: str,
        http1: RequestHandlerFactory,
        http2: RequestHandlerFactory,
        metrics: Metrics,
        limits: RequestLimits | None = None,
    ) -> None:
        self.name = name
        self.http1 = http1
        self.http2 = http2
        self.limits = limits or RequestLimits()
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._connections: set[ServerConnection] = set()
        self._draining = False
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        metrics.connections[name] = 0

    async def start(self, host: str, port: int, flag: str, *, reuse_port: bool = False) -> int:
        """Listen; gives the port (0 picks a free one). Raises ListenError that names `flag`.

        `reuse_port`: other processes of this sidecar listen there too, and the kernel spreads connections over them.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Undetected(self), host or None, port, backlog=BACKLOG, reuse_port=reuse_port or None
            )
        except OSError as error:
            raise ListenError(listen_problem(error, self.name, host, port, flag)) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    @property
    def live_requests(self) -> int:
        """Requests that are being answered."""
        return sum(connection.live_streams for connection in self._connections)

    def add(self, connection: ServerConnection) -> None:
        """A connection's protocol is known."""
        self._connections.add(connection)
        self._all_closed.clear()
        self._metrics.connections[self.name] = len(self._connections)
        if self._draining:
            connection.drain()

    def remove(self, connection: ServerConnection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)
        self._metrics.connections[self.name] = len(self._connections)
        if not self._connections:
            self._all_closed.set()

    def drain(self) -> None:
        """Answer what comes, and tell every connection to go elsewhere."""
        self._draining = True
        for connection in tuple(self._connections):
            connection.drain()

    async def close(self, timeout_s: float) -> bool:
        """Take no more connections; wait for the open ones, at most `timeout_s`. Whether all ended by themselves."""
        if self._server is not None:
            self._server.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_closed.wait()
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in tuple(self._connections):
            connection.abort()


class _Undetected(asyncio.Protocol):
    """A new connection until its first bytes tell what it speaks (RFC 9113 §3.4: the preface)."""

    __slots__ = ("_listener", "_seen", "_transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        seen = self._seen = self._seen + data if self._seen else data
        if len(seen) < len(PREFACE) and PREFACE.startswith(seen):
            return
        listener, transport = self._listener, self._transport
        assert transport is not None, "data comes after connection_made"
        connection: Http1ServerConnection | Http2ServerConnection
        if seen.startswith(PREFACE):
            connection = Http2ServerConnection(listener.http2, on_closed=listener.remove)
        else:
            connection = Http1ServerConnection(listener.http1, listener.remove, listener.limits)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        listener.add(connection)
        connection.data_received(seen)


def listen_problem(error: OSError, name: str, host: str, port: int, flag: str) -> str:
    """One sentence on why a port cannot be listened on."""
    where = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"the {name} port {where} is in use: stop what listens there, or choose another with {flag}"
    if error.errno == errno.EACCES:
        return f"not allowed to listen on the {name} port {where}: choose another with {flag}"
    return f"cannot listen on the {name} port {where} ({error.strerror or error}): choose another with {flag}"
