"""How long an idle connection is of use. Pure.

Servers close idle connections when they please; a request that is on its way in that moment is lost. So we close
first: before the time that the server has announced (`Keep-Alive: timeout=`) or has shown by closing. While neither is
known, a request that must not be lost takes only a connection that is nearly fresh, or one that is younger than another
which is still open: servers close the oldest first.
"""

from __future__ import annotations

FRESH_S = 0.02
"""Idle for less, a connection is taken without a thought: no server closes that soon. Closings this early are of
another kind and teach nothing."""

MARGIN = 0.75
"""The share of a server's own time that is used: the rest covers the way there, and timers that are not exact."""

YOUNGER = 0.9

LEARNT_FOR_S = 300.0
"""How long a closing counts. Servers that stop close connections of any age, and that is to be forgotten."""

_AT_ONCE_S = 0.02


class KeepAlive:
    """What is known of one endpoint. Times are of any steady clock."""

    __slots__ = ("_announced_s", "_before_s", "_closing_at", "_closing_s", "_configured_s", "_outlived_s", "limit_s")

    def __init__(self, configured_s: float) -> None:
        """`configured_s`: idle connections are not kept longer in any case; 0: no limit of ours."""
        self._configured_s = configured_s or float("inf")
        self._announced_s = float("inf")
        self._closing_s = float("inf")
        self._closing_at = 0.0
        self._before_s = float("inf")
        self._outlived_s = 0.0
        self.limit_s = self._configured_s
        """Idle for longer, a connection is closed, and no request takes it."""

    def configure(self, seconds: float) -> None:
        """Keep idle connections for at most so long; 0: no limit of ours."""
        self._configured_s = seconds or float("inf")
        self._reckon()

    @property
    def is_known(self) -> bool:
        """Whether the endpoint has said or shown how long it keeps connections."""
        return self._announced_s < float("inf") or self._closing_s < float("inf")

    def may_take(self, idle_s: float, oldest_s: float, *, repeatable: bool) -> bool:
        """Whether a request may go on a connection that has been idle for `idle_s`, when the oldest that is still open
        has been for `oldest_s`."""
        if idle_s >= self.limit_s:
            return False
        if repeatable or idle_s < FRESH_S or self.is_known:
            return True
        return idle_s < YOUNGER * max(oldest_s, self._outlived_s)

    def on_announced(self, seconds: float) -> None:
        """The endpoint says how long it keeps idle connections."""
        self._announced_s = seconds
        self._reckon()

    def on_closed(self, idle_s: float, now: float) -> None:
        """The endpoint has closed a connection that was idle for `idle_s`."""
        if idle_s < FRESH_S:
            return
        if now - self._closing_at < _AT_ONCE_S and idle_s < YOUNGER * self._closing_s:
            # Younger ones go along with older ones: that is no timer, the server is about to stop.
            self._closing_s = self._before_s
        elif idle_s < self._closing_s:
            self._before_s, self._closing_s = self._closing_s, idle_s
        self._closing_at = now
        self._reckon()

    def on_outlived(self, idle_s: float) -> None:
        """A connection that was idle for `idle_s` was still open."""
        self._outlived_s = max(self._outlived_s, idle_s)

    def on_unreachable(self) -> None:
        """The endpoint takes no connections: what it was like before means nothing."""
        self._closing_s = self._before_s = self._announced_s = float("inf")
        self._outlived_s = 0.0
        self._reckon()

    def age(self, now: float) -> None:
        """Forget what was long ago."""
        if self._closing_s < float("inf") and now - self._closing_at > LEARNT_FOR_S:
            self._closing_s = self._before_s = float("inf")
            self._reckon()

    def _reckon(self) -> None:
        self.limit_s = min(self._configured_s, MARGIN * min(self._announced_s, self._closing_s))
