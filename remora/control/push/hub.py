"""Who is connected, and which change of the catalog concerns whom.

A change touches only the sessions that watch the changed service: the index makes it cost nothing to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from remora.control.push.connection import Connection
from remora.control.push.debounce import Debounce
from remora.control.push.metrics import PushMetrics
from remora.control.push.resources import ENDPOINTS, OWN, SERVICE, Encoded, PushCatalog, Resources
from remora.model.names import ServiceName
from remora.model.snapshot import EndpointSet
from remora.proto.mesh.v1 import discovery_pb2 as pb

_LOOK_AGAIN_S = 0.02
_KIND_LABELS = {SERVICE: "service", ENDPOINTS: "endpoints", OWN: "own"}


class Hub:
    """All connections of this control. Lives on the event loop."""

    def __init__(self, catalog: PushCatalog, metrics: PushMetrics, debounce: Debounce) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._debounce = debounce
        self.resources = Resources(catalog)
        self._connections: set[Connection] = set()
        self._watchers: dict[ServiceName, set[Connection]] = {}
        self._watched: dict[Connection, set[ServiceName]] = {}
        self._changed: set[ServiceName] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._settling: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> frozenset[Connection]:
        return frozenset(self._connections)

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._watched[connection] = set()
        self._watch(connection, connection.session.watched())
        self._metrics.sidecars.set(len(self._connections))

    def remove(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._watch(connection, set())
        del self._watched[connection]
        self._metrics.sidecars.set(len(self._connections))
        self._progress()

    def close(self) -> None:
        """No more deltas are made."""
        for timer in (self._timer, self._settling):
            if timer is not None:
                timer.cancel()

    def settle(self, delay_s: float) -> None:
        """For so long, leave sidecars that have a configuration alone: see `SETTLE_S` of the server."""
        self._settling = asyncio.get_running_loop().call_later(delay_s, self._settled)

    def changed(self, names: Iterable[ServiceName]) -> None:
        """The catalog has new parts of these services; they are pushed together with what follows soon."""
        self._changed.update(names)
        if not self._changed:
            return
        now = time.monotonic()
        self._debounce.changed(now)
        due = self._debounce.due
        assert due is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(due - now, 0.0), self._flush)

    def next_delta(self, connection: Connection) -> pb.Delta | None:
        """The delta to send on `connection` now, counted and indexed."""
        if self._settling is not None and connection.hello.revision:
            return None
        delta = connection.session.next_delta()
        if delta is None:
            return None
        if any(resource.kind == SERVICE for resource in delta.upserts) or delta.removals or delta.unknown:
            self._watch(connection, connection.session.watched())
        for resource in delta.upserts:
            self._metrics.pushes.labels(_KIND_LABELS[resource.kind]).inc()
        if delta.removals:
            self._metrics.pushes.labels("removal").inc(len(delta.removals))
        return delta

    def ack(self, connection: Connection, nonce: int) -> None:
        done = connection.session.ack(nonce)
        if done is None:
            return
        connection.answered()
        if done.changed_at is not None:
            self._metrics.push_duration.observe(time.monotonic() - done.changed_at)
        self._progress()

    def nack(self, connection: Connection, nonce: int) -> None:
        if connection.session.nack(nonce) is None:
            return
        connection.answered()
        self._metrics.nacks.inc()
        self._watch(connection, connection.session.watched())
        self._progress()

    async def wait_unused(self, services: Iterable[ServiceName], instance: str, timeout_s: float) -> bool:
        """Wait until no sidecar connected here uses `instance` any more; whether that came about in time."""
        names = tuple(services)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._in_use(names, instance):
                    await self._moved.wait()
                    # Acks of a thousand callers come together: look once for many of them.
                    await asyncio.sleep(_LOOK_AGAIN_S)
                return True
        return False

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait until some delta is answered or some sidecar leaves, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()

    def _in_use(self, services: tuple[ServiceName, ...], instance: str) -> bool:
        for name in services:
            if _has(self._catalog.endpoints(name), instance):
                return True
            watchers = self._watchers.get(name, ())
            versions = {version for watcher in watchers for version in watcher.session.holds((ENDPOINTS, name))}
            if any(_encodes(version, instance) for version in versions):
                return True
        return False

    def _progress(self) -> None:
        self._moved.set()
        self._moved.clear()

    def _settled(self) -> None:
        self._settling = None
        for connection in self._connections:
            connection.wake()

    def _flush(self) -> None:
        self._timer = None
        since = self._debounce.first
        assert since is not None
        self._debounce.acted()
        services, endpoint_sets = self.resources.refresh(self._changed)
        self._changed.clear()
        concerned: set[Connection] = set()
        for name in services | endpoint_sets:
            concerned |= self._watchers.get(name, set())
        for connection in concerned:
            if connection.session.changed(services, endpoint_sets, since):
                connection.wake()
        self._progress()

    def _watch(self, connection: Connection, names: set[ServiceName]) -> None:
        before = self._watched[connection]
        for name in names - before:
            self._watchers.setdefault(name, set()).add(connection)
        for name in before - names:
            watchers = self._watchers[name]
            watchers.discard(connection)
            if not watchers:
                del self._watchers[name]
                self.resources.forget(name)
        self._watched[connection] = names


def _encodes(version: Encoded, instance: str) -> bool:
    return isinstance(version.value, EndpointSet) and _has(version.value, instance)


def _has(endpoints: EndpointSet | None, instance: str) -> bool:
    return endpoints is not None and any(endpoint.id == instance for endpoint in endpoints.endpoints)
