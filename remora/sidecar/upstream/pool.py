"""Pooled connections to one endpoint, of one protocol.

A request takes a free connection at once, or waits for the first that comes free or gets connected. The most recently
used connection is taken first, so that idle ones age and can go. HTTP/1's go before the endpoint would close them: see
`policy/keep_alive.py`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

from remora.model.policies import Caps
from remora.sidecar.policy.keep_alive import FRESH_S, KeepAlive
from remora.sidecar.upstream.room import Limit, Room
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.http2 import Http2ClientConnection
from remora.sidecar.wire.stream import ClientConnection
from remora.sidecar.wire.tcp import TcpClientConnection

log = logging.getLogger(__name__)

SWEEP_S = 0.01
"""How soon the pool looks again for idle connections that have to go, at the earliest."""

UpstreamProtocol = Literal["http1", "h2", "tcp"]
"""`tcp`: bytes that nobody reads into; each connection serves one tunnel."""

_STREAMS_PER_CONNECTION: dict[UpstreamProtocol, int] = {"http1": 1, "h2": 100, "tcp": 1}
"""How many waiting requests one connection under way is expected to serve, until an HTTP/2 endpoint has said it."""


_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*(\d{1,9})", re.IGNORECASE)
"""The one parameter of Keep-Alive that servers send (RFC 2068 §19.7.1.1); seconds."""


class Asker(Protocol):
    """A request that asks for a connection."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it could be sent again, should the connection close under it."""


class Waiter(Protocol):
    """A request that waits for a connection."""

    def on_connection(self, connection: ClientConnection) -> None:
        """Open a stream on `connection` now."""

    def on_connect_failure(self, reason: str) -> None: ...


class Pool:
    """Connections to `host`:`port`. Also their ConnectionOwner."""

    __slots__ = (
        "_aborted",
        "_connect_timeout_s",
        "_connecting",
        "_connections",
        "_counted",
        "_draining",
        "_free",
        "_host",
        "_keep_alive",
        "_keep_alive_value",
        "_on_connect",
        "_port",
        "_protocol",
        "_room",
        "_streams_told",
        "_sweep_handle",
        "_waiters",
    )

    def __init__(
        self,
        host: str,
        port: int,
        protocol: UpstreamProtocol,
        connect_timeout_s: float,
        on_connect: Callable[[bool], None],
        idle_s: float = 0.0,
        room: Room | None = None,
    ) -> None:
        """`on_connect(ok)` hears of each connect; `connect_timeout_s` 0 means no limit, nor does `idle_s`, for which
        idle connections are kept. `room` is shared with other pools; None: there are none."""
        self._host = host
        self._port = port
        self._protocol: UpstreamProtocol = protocol
        self._connect_timeout_s = connect_timeout_s
        self._on_connect = on_connect
        # A dict is an ordered set here: newest last, and one of many idle connections goes in O(1).
        self._free: dict[ClientConnection, float] = {}
        """With the time since which they are idle, or at least not busier than they could be."""
        self._keep_alive = KeepAlive(idle_s)
        self._keep_alive_value = b""
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._connections: set[ClientConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiters: deque[Waiter] = deque()
        self._draining = False
        self._aborted = False
        self._room = Room(Caps()) if room is None else room
        self._counted = 0
        """How many of its connections `room` knows of."""
        self._streams_told: int | None = None
        """How many streams the endpoint takes on a connection, as it has said last; None: that has kept nobody waiting
        yet, and a new connection is tried with one."""

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return len(self._waiters)

    def configure(self, connect_timeout_s: float, idle_s: float) -> None:
        """Go by other limits from now on."""
        self._connect_timeout_s = connect_timeout_s
        self._keep_alive.configure(idle_s)
        self._sweep_later()

    def take(self, asker: Asker | None = None) -> ClientConnection | None:
        """A connection on which one stream can be opened now; the caller opens it before it does anything else."""
        free = self._free
        while free:
            connection, since = free.popitem()
            slots = connection.free_slots
            if slots == 1:
                idle_s = time.monotonic() - since
                if idle_s > FRESH_S and isinstance(connection, Http1ClientConnection):
                    free[connection] = since
                    return self._take_aged(connection, idle_s, asker)
                return connection
            if slots > 1:
                free[connection] = since
                return connection
        return None

    def take_anew(self) -> ClientConnection | None:
        """The same for a request that has met a connection that was closing: others may be about to close as well."""
        youngest = next(reversed(self._free), None)
        if isinstance(youngest, Http1ClientConnection):
            self._make_room()
            return None
        return self.take()

    def _make_room(self) -> None:
        """Have room for a new connection, by closing the one that has been idle for longest, if there is no other way:
        who does not take it would wait for it in vain."""
        if not self._may_connect():
            oldest = next(iter(self._free))
            del self._free[oldest]
            oldest.drain()

    def _take_aged(
        self, connection: Http1ClientConnection, idle_s: float, asker: Asker | None
    ) -> ClientConnection | None:
        """`connection`, which is the youngest, if it can still be trusted with the request."""
        keep_alive, now = self._keep_alive, time.monotonic()
        keep_alive.age(now)
        if idle_s >= keep_alive.limit_s:
            self._sweep()
            return None
        oldest_s = now - next(iter(self._free.values()))
        if not keep_alive.may_take(idle_s, oldest_s, repeatable=asker is None or asker.is_repeatable):
            self._make_room()
            return None
        del self._free[connection]
        connection.idle_s = idle_s
        keep_alive.on_outlived(idle_s)
        return connection

    def wait(self, waiter: Waiter) -> Limit | None:
        """Call `waiter` back, in turn, with a connection or a failure; never before this returns. When too many wait,
        or too many tunnels are open, it is not called; gives that limit then."""
        room = self._room
        if room.waiting >= room.most_waiting:
            return "pending"
        if self._protocol == "tcp" and not self._may_connect():
            # A tunnel may last for hours: none is waited for.
            return "connections"
        room.waiting += 1
        self._waiters.append(waiter)
        self._connect_as_needed()
        return None

    def forget(self, waiter: Waiter) -> None:
        """`waiter` no longer wants a connection."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._room.waiting -= 1

    def drain(self) -> None:
        """Close idle connections now and busy ones when they are done; the pool takes no new requests."""
        self._stop()
        for connection in tuple(self._connections):
            connection.drain()

    def abort(self) -> None:
        """Close everything at once, and open nothing any more; who waits fails."""
        self._stop()
        self._aborted = True
        for task in tuple(self._connecting):
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        self._fail_all("the sidecar closes its connections")

    def _stop(self) -> None:
        self._draining = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None

    # ── ConnectionOwner ──

    def on_connection_free(self, connection: ClientConnection) -> None:
        if not self._waiters and not self._draining and self._protocol != "tcp":
            if connection.free_slots > 0:
                self._free[connection] = time.monotonic()
                if self._sweep_handle is None:
                    self._sweep_later()
            return
        self._offer(connection)
        self._connect_as_needed()

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
            return
        self._free[connection] = time.monotonic()
        if self._sweep_handle is None:
            self._sweep_later()

    def on_max_streams(self, streams: int) -> None:
        if self._waiters or self._streams_told is not None:
            self._streams_told = max(1, streams)
            self._connect_as_needed()

    def on_connection_closed(self, connection: ClientConnection) -> None:
        since = self._free.pop(connection, None)
        self._connections.discard(connection)
        self._count()
        if isinstance(connection, Http1ClientConnection) and not self._draining:
            now = time.monotonic()
            idle_s = connection.idle_s if connection.was_stale else 0.0 if since is None else now - since
            if idle_s > FRESH_S:
                self._learn_closing(idle_s, now)
        if self._waiters:
            self._connect_as_needed()

    # ── idle connections ──

    def on_keep_alive(self, value: bytes) -> None:
        if value == self._keep_alive_value:
            return
        self._keep_alive_value = value
        timeout = _TIMEOUT.search(value)
        if timeout is not None:
            self._keep_alive.on_announced(float(timeout.group(1)))
            self._sweep_later()

    def _learn_closing(self, idle_s: float, now: float) -> None:
        self._keep_alive.on_closed(idle_s, now)
        self._sweep_later()

    def _sweep_later(self) -> None:
        """Have a look when the oldest idle connection has to go."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        limit_s = self._keep_alive.limit_s
        if self._free and limit_s < float("inf"):
            due = min(self._free.values()) + limit_s - time.monotonic()
            self._sweep_handle = asyncio.get_running_loop().call_later(max(due, SWEEP_S), self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        now, limit_s = time.monotonic(), self._keep_alive.limit_s
        for connection, since in tuple(self._free.items()):
            if connection.live_streams:
                self._free[connection] = now
            elif now - since >= limit_s:
                del self._free[connection]
                connection.drain()
        self._sweep_later()

    # ── connecting ──

    def _serve(self, connection: ClientConnection) -> None:
        while self._waiters and connection.free_slots > 0:
            waiter = self._waiters.popleft()
            self._room.waiting -= 1
            try:
                waiter.on_connection(connection)
            except Exception as error:
                log.exception("A request could not be sent to %s:%d.", self._host, self._port)
                # What it has left on the connection nobody knows.
                connection.abort()
                self._fail_one(waiter, f"the request could not be sent: {error!r}")

    def _connect_as_needed(self) -> None:
        if self._aborted:
            return
        served = self._streams_told or _STREAMS_PER_CONNECTION[self._protocol]
        while len(self._connecting) * served < len(self._waiters):
            if not self._may_connect():
                self._room.want(self)
                return
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._on_connect_ended)
            self._count()

    def _may_connect(self) -> bool:
        """One connection an endpoint may always have: nobody there would come to an end and make room (as in Envoy)."""
        room = self._room
        return room.connections < room.most_connections or not (self._connections or self._connecting)

    def on_room(self) -> None:
        """Another pool has one connection less."""
        self._connect_as_needed()

    def _on_connect_ended(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._count()

    def _count(self) -> None:
        """Have `room` know how many connections there are."""
        count = len(self._connections) + len(self._connecting)
        change, self._counted = count - self._counted, count
        if change:
            self._room.change(change)

    def _make(self) -> Http1ClientConnection | Http2ClientConnection | TcpClientConnection:
        if self._protocol == "tcp":
            return TcpClientConnection(self)
        if self._protocol == "http1":
            return Http1ClientConnection(self)
        return Http2ClientConnection(self, expected_streams=self._streams_told or 1)

    async def _connect(self) -> None:
        """Whatever happens, who waits hears of it."""
        connection: ClientConnection | None = None
        reason = ""
        try:
            connection = await self._open()
        except TimeoutError:
            reason = f"no connection to {self._host}:{self._port} within {self._connect_timeout_s:g} s"
        except OSError as error:
            reason = f"no connection to {self._host}:{self._port}: {error.strerror or error}"
        except ValueError as error:
            # A host that cannot be one: `a..b`, or a label of more than 63 octets. The caller may have said it.
            reason = f"no connection to {self._host}:{self._port}: {error}"
        except Exception as error:
            log.exception("Connecting to %s:%d failed in a way that nobody foresaw.", self._host, self._port)
            reason = f"no connection to {self._host}:{self._port}: {error!r}"
        # No longer under way: what follows may find that another is needed.
        self._connecting -= {asyncio.current_task()}
        if connection is None:
            self._fail(reason)
            return
        try:
            self._on_connected(connection)
        except Exception as error:
            log.exception("A new connection to %s:%d could not be used.", self._host, self._port)
            connection.abort()
            self._fail(f"the connection to {self._host}:{self._port} could not be used: {error!r}")

    async def _open(self) -> ClientConnection:
        async with asyncio.timeout(self._connect_timeout_s or None):
            _, connection = await asyncio.get_running_loop().create_connection(self._make, self._host, self._port)
        return connection

    def _on_connected(self, connection: ClientConnection) -> None:
        if connection.free_slots == 0:
            # Lost again before anyone could use it, and its on_connection_closed has been; or it takes no stream.
            self._fail(f"{self._host}:{self._port} closed the connection at once, or takes no request on it")
            connection.drain()
            return
        self._on_connect(True)
        self._connections.add(connection)
        self._offer(connection)
        if self._streams_told is not None:
            self._connect_as_needed()

    def _fail(self, reason: str) -> None:
        """All who wait fail: each may try another endpoint, rather than queue for one that does not answer."""
        log.debug("%s", reason)
        self._keep_alive.on_unreachable()
        try:
            self._on_connect(False)
        finally:
            self._fail_all(reason)

    def _fail_all(self, reason: str) -> None:
        waiters, self._waiters = self._waiters, deque()
        self._room.waiting -= len(waiters)
        for waiter in waiters:
            self._fail_one(waiter, reason)

    def _fail_one(self, waiter: Waiter, reason: str) -> None:
        try:
            waiter.on_connect_failure(reason)
        except Exception:
            # A bug of one request is not to keep the others waiting.
            log.exception("A request could not take it that there is no connection to %s:%d.", self._host, self._port)
