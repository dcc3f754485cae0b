"""Pooled connections to one endpoint, of one protocol.

A request takes a free connection at once, or waits for the first that comes free or gets connected. The most recently
used connection is taken first, so that idle ones age and can go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.http2 import Http2ClientConnection
from remora.sidecar.wire.stream import ClientConnection
from remora.sidecar.wire.tcp import TcpClientConnection

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
"""Per endpoint (Envoy's circuit breaker default)."""

UpstreamProtocol = Literal["http1", "h2", "tcp"]
"""`tcp`: bytes that nobody reads into; each connection serves one tunnel."""

_STREAMS_PER_CONNECTION: dict[UpstreamProtocol, int] = {"http1": 1, "h2": 100, "tcp": 1}
"""How many waiting requests one connection under way is expected to serve, until an HTTP/2 endpoint has said it."""


class Waiter(Protocol):
    """A request that waits for a connection."""

    def on_connection(self, connection: ClientConnection) -> None:
        """Open a stream on `connection` now."""

    def on_connect_failure(self, reason: str) -> None: ...


class Pool:
    """Connections to `host`:`port`. Also their ConnectionOwner."""

    __slots__ = (
        "_connect_timeout_s",
        "_connecting",
        "_connections",
        "_draining",
        "_free",
        "_host",
        "_on_connect",
        "_port",
        "_protocol",
        "_streams_told",
        "_waiters",
    )

    def __init__(
        self,
        host: str,
        port: int,
        protocol: UpstreamProtocol,
        connect_timeout_s: float,
        on_connect: Callable[[bool], None],
    ) -> None:
        """`on_connect(ok)` hears of each connect; `connect_timeout_s` 0 means no limit."""
        self._host = host
        self._port = port
        self._protocol: UpstreamProtocol = protocol
        self._connect_timeout_s = connect_timeout_s
        self._on_connect = on_connect
        # A dict is an ordered set here: newest last, and one of many idle connections goes in O(1).
        self._free: dict[ClientConnection, None] = {}
        self._connections: set[ClientConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiters: deque[Waiter] = deque()
        self._draining = False
        self._streams_told: int | None = None
        """How many streams the endpoint takes on one connection, as one that was full has shown."""

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return len(self._waiters)

    def take(self) -> ClientConnection | None:
        """A connection on which one stream can be opened now; the caller opens it before it does anything else."""
        free = self._free
        while free:
            connection = next(reversed(free))
            slots = connection.free_slots
            if slots > 1:
                return connection
            del free[connection]
            if slots == 1:
                return connection
        return None

    def wait(self, waiter: Waiter) -> None:
        """Call `waiter` back, in turn, with a connection or a failure; never before this returns."""
        self._waiters.append(waiter)
        self._connect_as_needed()

    def forget(self, waiter: Waiter) -> None:
        """`waiter` no longer wants a connection."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def drain(self) -> None:
        """Close idle connections now and busy ones when they are done; the pool takes no new requests."""
        self._draining = True
        for connection in tuple(self._connections):
            connection.drain()

    def abort(self) -> None:
        """Close everything at once."""
        self._draining = True
        for task in tuple(self._connecting):
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()

    # ── ConnectionOwner ──

    def on_connection_free(self, connection: ClientConnection) -> None:
        self._offer(connection)
        if self._waiters:
            self._connect_past(connection)

    def _offer(self, connection: ClientConnection) -> None:
        if self._waiters:
            self._serve(connection)
        if self._draining:
            connection.drain()
        elif connection.free_slots > 0:
            self._keep(connection)

    def _keep(self, connection: ClientConnection) -> None:
        if self._protocol == "tcp":
            # Who asked for it is gone. A server may count on who connects to say something, or have said something.
            connection.drain()
        else:
            self._free[connection] = None

    def on_connection_closed(self, connection: ClientConnection) -> None:
        self._free.pop(connection, None)
        self._connections.discard(connection)
        if self._waiters:
            self._connect_as_needed()

    # ── connecting ──

    def _serve(self, connection: ClientConnection) -> None:
        while self._waiters and connection.free_slots > 0:
            self._waiters.popleft().on_connection(connection)

    def _connect_past(self, full: ClientConnection) -> None:
        """`full` takes no more, though requests wait: others are needed."""
        self._streams_told = max(1, full.free_slots + full.live_streams)
        self._connect_as_needed()

    def _connect_as_needed(self) -> None:
        served = self._streams_told or _STREAMS_PER_CONNECTION[self._protocol]
        while (
            len(self._connecting) * served < len(self._waiters)
            and len(self._connecting) + len(self._connections) < MAX_CONNECTIONS
        ):
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _make(self) -> Http1ClientConnection | Http2ClientConnection | TcpClientConnection:
        if self._protocol == "tcp":
            return TcpClientConnection(self)
        if self._protocol == "http1":
            return Http1ClientConnection(self)
        return Http2ClientConnection(self, expected_streams=self._streams_told or 1)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s or None):
                _, connection = await loop.create_connection(self._make, self._host, self._port)
        except TimeoutError:
            self._fail(f"no connection to {self._host}:{self._port} within {self._connect_timeout_s:g} s")
        except OSError as error:
            self._fail(f"no connection to {self._host}:{self._port}: {error.strerror or error}")
        else:
            self._on_connected(connection)

    def _on_connected(self, connection: ClientConnection) -> None:
        if connection.free_slots == 0:
            # Lost again before anyone could use it, and its on_connection_closed has been; or it takes no stream.
            self._fail(f"{self._host}:{self._port} closed the connection at once, or takes no request on it")
            connection.drain()
            return
        self._on_connect(True)
        self._connections.add(connection)
        self._offer(connection)
        if self._waiters and isinstance(connection, Http2ClientConnection) and connection.settings_seen:
            self._connect_past(connection)

    def _fail(self, reason: str) -> None:
        """All who wait fail: each may try another endpoint, rather than queue for one that does not answer."""
        log.debug("%s", reason)
        self._on_connect(False)
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            waiter.on_connect_failure(reason)
