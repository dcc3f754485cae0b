"""A worker's way to control: it asks the parent, which holds the one stream and the subscriptions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from remora.model.names import ServiceName

UNKNOWN_FOR_S = 30.0
"""How long "the mesh does not know it" is believed. A service that comes into being is in a snapshot long before; this
keeps the subscription from being idle while requests for it come."""
MAX_NAMES = 1000
"""Unknown services that are remembered, and asked for at once. Callers choose names, so their number has a bound."""


class ParentDiscoverer:
    """Says what the parent has said, and asks it once for each name."""

    __slots__ = ("_ask", "_clock", "_unknown_until", "_used", "_waiting")

    def __init__(self, ask: Callable[[ServiceName], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._unknown_until: dict[ServiceName, float] = {}
        self._waiting: dict[ServiceName, list[asyncio.Future[bool]]] = {}
        self._used: set[ServiceName] = set()

    def known(self, service: ServiceName) -> bool | None:
        """False: the parent said so lately. Else None: what the mesh knows is in the snapshot, not asked for here."""
        until = self._unknown_until.get(service)
        return None if until is None or until <= self._clock() else False

    def subscribe(self, service: ServiceName) -> asyncio.Future[bool]:
        """Ask for `service`; False at once when too many are asked for already."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(service)
        if waiting is not None:
            waiting.append(answer)
        elif len(self._waiting) >= MAX_NAMES:
            answer.set_result(False)
        else:
            self._waiting[service] = [answer]
            self._ask(service)
        return answer

    def touch(self, service: ServiceName) -> None:
        self._used.add(service)

    def answered(self, service: ServiceName, known: bool) -> None:
        """What the parent says; if it is known, its snapshot is in use already."""
        self._unknown_until.pop(service, None)
        if not known:
            if len(self._unknown_until) >= MAX_NAMES:
                del self._unknown_until[next(iter(self._unknown_until))]
            self._unknown_until[service] = self._clock() + UNKNOWN_FOR_S
        for answer in self._waiting.pop(service, ()):
            if not answer.done():
                answer.set_result(known)

    def take_used(self) -> tuple[ServiceName, ...]:
        """Services of the mesh that had requests since the last take."""
        used = tuple(self._used)
        self._used.clear()
        return used
