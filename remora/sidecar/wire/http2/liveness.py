"""Whether a peer that owes us something still lives, and whether a connection is still of use: one coarse timer.

A tick looks at what has happened since the last one. Silence while streams are live is answered by a PING, and silence
after that by the end of the connection, so that a frozen or cut-off peer is noticed without each request's timeout.
gRPC servers close connections of clients that ping a silent stream too often: three times are free, then once in five
minutes (gRFC A8, `too_many_pings`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from remora.sidecar.wire.http2.limits import Http2Limits

FREE_PINGS = 3
PING_SPACE_S = 310.0


class Watched(Protocol):
    """The connection. `heard` is set whenever bytes come."""

    heard: bool

    @property
    def live_streams(self) -> int: ...

    @property
    def streams_opened(self) -> int: ...

    def send_ping(self) -> None: ...

    def drain(self) -> None: ...

    def abort(self) -> None: ...


class Liveness:
    __slots__ = ("_call_later", "_free_pings", "_idle_s", "_limits", "_opened", "_silent_s", "_timer", "_waited_s")

    def __init__(self, limits: Http2Limits) -> None:
        self._limits = limits
        self._call_later: Callable[..., asyncio.TimerHandle] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened = 0
        self._idle_s = 0.0
        self._silent_s = 0.0
        """How long nothing but answers to PING has come."""
        self._waited_s = -1.0
        """How long a PING has been without an answer; -1: none is."""
        self._free_pings = FREE_PINGS

    def start(self, loop: asyncio.AbstractEventLoop, connection: Watched) -> None:
        self._call_later = loop.call_later
        self._timer = loop.call_later(self._limits.tick_s, self._tick, connection)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._call_later = None

    def _tick(self, connection: Watched) -> None:
        self._look(connection)
        if self._call_later is not None:
            self._timer = self._call_later(self._limits.tick_s, self._tick, connection)

    def _look(self, connection: Watched) -> None:
        tick_s = self._limits.tick_s
        heard, connection.heard = connection.heard, False
        if heard:
            self._on_heard()
        elif self._waited_s >= 0:
            self._waited_s += tick_s
            if self._waited_s >= self._limits.ping_timeout_s:
                connection.abort()
            return
        if connection.live_streams:
            self._idle_s = 0.0
            if not heard:
                self._on_silence(connection)
        elif connection.streams_opened != self._opened:
            self._opened = connection.streams_opened
            self._idle_s = 0.0
        else:
            self._idle_s += tick_s
            if self._idle_s >= self._limits.idle_s:
                connection.drain()

    def _on_heard(self) -> None:
        if self._waited_s < 0:
            self._free_pings = FREE_PINGS
            self._silent_s = 0.0
        self._waited_s = -1.0

    def _on_silence(self, connection: Watched) -> None:
        self._silent_s += self._limits.tick_s
        if self._free_pings:
            self._free_pings -= 1
        elif self._silent_s < PING_SPACE_S:
            return
        self._silent_s = 0.0
        self._waited_s = 0.0
        connection.send_ping()
