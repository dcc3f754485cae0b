"""Which services this sidecar uses: those it was configured with, and those that its app has asked for.

On-demand subscriptions are bounded, so that an app which calls a thousand outside hosts costs no more than a thousand
names: above the bound, the one that was used least recently goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from remora.model.names import ServiceName


class Subscriptions:
    """The names, and when those on demand were last used. Time is an argument, in seconds of any steady clock."""

    __slots__ = ("_configured", "_max_on_demand", "_used")

    def __init__(self, configured: Iterable[ServiceName], max_on_demand: int) -> None:
        self._configured = frozenset(configured)
        self._max_on_demand = max_on_demand
        self._used: dict[ServiceName, float] = {}

    def __contains__(self, service: ServiceName) -> bool:
        return service in self._used or service in self._configured

    def __len__(self) -> int:
        return len(self._used) + len(self._configured)

    def names(self) -> list[ServiceName]:
        """All, in order of name."""
        return sorted((*self._configured, *self._used))

    def touch(self, service: ServiceName, now: float) -> None:
        """`service` is in use now; nothing happens when it is not subscribed on demand."""
        if service in self._used:
            self._used[service] = now

    def add(self, service: ServiceName, now: float) -> ServiceName | None:
        """Subscribe to `service` on demand; returns the one that had to go for it."""
        if service in self._configured:
            return None
        evicted = None
        if service not in self._used and len(self._used) >= self._max_on_demand:
            evicted = min(self._used, key=self._used.__getitem__)
            del self._used[evicted]
        self._used[service] = now
        return evicted

    def drop_idle(self, unused_since: float) -> list[ServiceName]:
        """Remove and return those on demand that were last used before `unused_since`."""
        idle = [service for service, used in self._used.items() if used < unused_since]
        for service in idle:
            del self._used[service]
        return idle
