"""How long a connection waits for its peer: for a head, for a body, for room to write, for the next request.

A `Watch` looks at the connection once a period. What it waits for then is compared with what it waited for the last
time; whoever has waited for the same for as many periods as the limit has, has waited too long. On HTTP/2, which may
wait for several bodies at once, each stream counts the looks itself.
"""

from __future__ import annotations

import enum

from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.watch import Watch, Watched


class Wait(enum.Enum):
    """What a connection may wait for its peer to do."""

    HEAD = "head"
    BODY = "body"
    WRITE = "write"
    IDLE = "idle"


class Patience:
    """One for each connection."""

    __slots__ = ("_limits", "_periods", "_waits_for", "_watch", "_watched_in", "heard")

    def __init__(self, limits: RequestLimits, watch: Watch | None) -> None:
        """`watch`: None: it is without end."""
        self._limits = limits
        self._watch = watch
        self._watched_in: set[Watched] | None = None
        self._waits_for: tuple[Wait, object] | None = None
        """What the last look found."""
        self._periods = 0
        """Looks since then that have found the same."""
        self.heard = False
        """Whether anything came since the last look."""

    @property
    def is_endless(self) -> bool:
        """Whether nobody looks."""
        return self._watch is None

    def begin(self, connection: Watched) -> None:
        """Have `connection` looked at."""
        if self._watch is not None:
            self._watched_in = self._watch.add(connection)

    def end(self, connection: Watched) -> None:
        """Look no more."""
        if self._watched_in is not None:
            self._watched_in.discard(connection)

    def is_over(self, waits_for: tuple[Wait, object] | None) -> bool:
        """Whether this look finds that the connection has waited too long for `waits_for`: for whom, and how far it has
        come; None: it is not the peer's turn. Only a head has to be whole in time; for a body anything that comes is
        progress."""
        if waits_for is None or waits_for != self._waits_for or (self.heard and waits_for[0] is not Wait.HEAD):
            self._waits_for = waits_for
            self._periods = 0
            self.heard = False
            return False
        self._periods += 1
        return self.has_lasted(waits_for[0], self._periods)

    def has_lasted(self, wait: Wait, periods: int) -> bool:
        """Whether `wait`, which so many looks have found after the first, has been too long."""
        return self._watch is not None and periods * self._watch.period_s >= self.limit_s(wait)

    def limit_s(self, wait: Wait) -> float:
        """How long `wait` may take."""
        limits = self._limits
        if wait is Wait.HEAD:
            return limits.head_timeout_s
        if wait is Wait.BODY:
            return limits.body_timeout_s
        return limits.write_timeout_s if wait is Wait.WRITE else limits.idle_timeout_s
