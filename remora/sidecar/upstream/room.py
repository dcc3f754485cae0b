"""How much of this sidecar a service may take (Envoy's circuit breakers): connections, requests that wait for one,
requests in flight. What is too much is refused at once: a queue would only make it late.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol

from remora.model.policies import Caps

Limit = Literal["connections", "pending", "requests", "breaker"]

NO_LIMIT = 1 << 60


@dataclasses.dataclass(frozen=True, slots=True)
class Objection:
    """Why an attempt may not be made now, or a connection not be waited for."""

    limit: Limit
    document: str
    """Which one says so."""
    most: int = 0
    """So many are allowed."""
    wait_s: float = 0.0
    """Of a breaker: when it lets something through again, at the latest."""


class Wanting(Protocol):
    """A pool that had no place for another connection."""

    def on_room(self) -> None: ...


class Room:
    """Connections and waiting requests of one cluster, all pools together."""

    __slots__ = ("_wanting", "connections", "most_connections", "most_waiting", "waiting")

    def __init__(self, caps: Caps) -> None:
        self.connections = 0
        """Those that are open, and those under way."""
        self.waiting = 0
        """Requests that wait for a connection."""
        # A dict is an ordered set here: who wanted first is first.
        self._wanting: dict[Wanting, None] = {}
        self.most_connections = NO_LIMIT
        self.most_waiting = NO_LIMIT
        self.configure(caps)

    def configure(self, caps: Caps) -> None:
        """Go by these from now on. What is there already stays."""
        self.most_connections = caps.connections or NO_LIMIT
        self.most_waiting = caps.pending or NO_LIMIT
        self._tell()

    def want(self, pool: Wanting) -> None:
        """Tell `pool` when there is a place again."""
        self._wanting[pool] = None

    def change(self, connections: int) -> None:
        """There are so many connections more, or less."""
        self.connections += connections
        if connections < 0 and self._wanting:
            self._tell()

    def _tell(self) -> None:
        while self._wanting and self.connections < self.most_connections:
            wanting = next(iter(self._wanting))
            del self._wanting[wanting]
            wanting.on_room()
