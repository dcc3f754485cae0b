"""A listening socket and the connections that came by it. What each of them speaks is found out in `reception.py`."""

from __future__ import annotations

import asyncio
import errno
import logging

from remora.sidecar.listener.forwarding import Forwarding
from remora.sidecar.listener.opaque import Opaque
from remora.sidecar.listener.reception import NewConnection
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.http2.limits import Http2Limits
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import RequestHandlerFactory, ServerConnection
from remora.sidecar.wire.watch import Watch

log = logging.getLogger(__name__)

BACKLOG = 2048
_DIRECTIONS = frozenset(("inbound", "outbound"))
"""Listeners that carry traffic are named after them, up to a colon."""


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
        opaque: Opaque | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        """`opaque`: what is done with what is no HTTP; None: all is taken for HTTP. `forwarding`: what requests say of
        their way; None: they stay as they are."""
        self.name = name
        self.opaque = opaque
        self.forwarding = forwarding or Forwarding(None)
        self.http1 = http1
        self.http2 = http2
        self.limits = limits or RequestLimits()
        self.http2_limits = Http2Limits(request=self.limits)
        self.metrics = metrics
        self.watch = Watch(self.limits.watch_s)
        self._server: asyncio.Server | None = None
        self._connections: set[ServerConnection] = set()
        self._new: set[NewConnection] = set()
        """Those of which nobody knows yet what they speak."""
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
                lambda: NewConnection(self), host or None, port, backlog=BACKLOG, reuse_port=reuse_port or None
            )
        except OSError as error:
            raise ListenError(listen_problem(error, self.name, host, port, flag)) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    @property
    def live_requests(self) -> int:
        """Requests that are being answered."""
        return sum(connection.live_streams for connection in self._connections)

    def meet(self, connection: NewConnection) -> None:
        """A connection has been accepted."""
        self._new.add(connection)

    def part(self, connection: NewConnection) -> None:
        """What it speaks is known, or it is gone."""
        self._new.discard(connection)

    def on_server_first(self) -> None:
        """It has been learnt that servers speak first here: nobody waits for a client's word any more."""
        for connection in tuple(self._new):
            connection.on_server_first()

    def add(self, connection: ServerConnection) -> None:
        """A connection's protocol is known. `settle` follows once it has had its first bytes."""
        self._connections.add(connection)
        self._all_closed.clear()
        self.metrics.connections[self.name] = len(self._connections)

    def settle(self, connection: ServerConnection) -> None:
        """What a connection began with is under way: from now on it can be told to go elsewhere."""
        if self._draining:
            connection.drain()

    def remove(self, connection: ServerConnection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)
        self.metrics.connections[self.name] = len(self._connections)
        if not self._connections:
            self._all_closed.set()

    def count_refused(self, status: int) -> None:
        """A codec has refused what was no good request, before there was an exchange that counts it."""
        direction = self.name.partition(":")[0]
        if direction in _DIRECTIONS:
            self.metrics.count_refused(direction, status)

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
        for new in tuple(self._new):
            new.abort()


def listen_problem(error: OSError, name: str, host: str, port: int, flag: str) -> str:
    """One sentence on why a port cannot be listened on."""
    where = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"the {name} port {where} is in use: stop what listens there, or choose another with {flag}"
    if error.errno == errno.EACCES:
        return f"not allowed to listen on the {name} port {where}: choose another with {flag}"
    return f"cannot listen on the {name} port {where} ({error.strerror or error}): choose another with {flag}"
