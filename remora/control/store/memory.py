"""A store in memory, for unit tests: etcd's behaviour without etcd, its clock and its faults in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from remora.control.store.errors import LeaseGone, RelistNeeded, StoreConflict, StoreRefused, StoreUnavailable
from remora.control.store.interface import (
    Entry,
    Event,
    EventKind,
    LeaseId,
    Listing,
    Revision,
    StoreStatus,
    WatchBatch,
)

_MAX_VALUE_BYTES = 1_500_000  # etcd's --max-request-bytes is 1.5 MiB


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    deadline_s: float
    keys: set[str] = field(default_factory=set)


class MemoryStore:
    """A `Store` that starts at revision 1, as an empty etcd does.

    Beside the interface: `advance()` and `expire()` end leases, `compact()` forgets history, `set_available()` plays
    an outage, which ends the watches too.
    """

    def __init__(self) -> None:
        self._revision = 1
        self._compacted = 0
        self._base = 1
        self._entries: dict[str, Entry] = {}
        self._log: list[tuple[Event, ...]] = []
        """Events of each revision after `_base`; one revision may delete several keys."""
        self._leases: dict[LeaseId, _Lease] = {}
        self._last_lease = 0
        self._now_s = 0.0
        self._available = True
        self._outages = 0
        self._closed = False
        self._changed = asyncio.Event()

    async def list(self, prefix: str) -> Listing:
        self._check_available()
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Listing(tuple(self._entries[key] for key in keys), Revision(self._revision))

    async def get(self, key: str) -> Entry | None:
        self._check_available()
        return self._entries.get(key)

    async def put(
        self, key: str, value: bytes, *, lease: LeaseId | None = None, expected: Revision | None = None
    ) -> Revision:
        self._check_available()
        if len(value) > _MAX_VALUE_BYTES:
            raise StoreRefused(f"{key}: {len(value)} bytes are too large for the store")
        if lease is not None and lease not in self._leases:
            raise LeaseGone(lease)
        self._check_expected(key, expected)
        self._detach(key)
        revision = Revision(self._revision + 1)
        before = self._entries.get(key)
        created = before.create_revision if before else revision
        self._entries[key] = Entry(key, value, revision, lease, created)
        if lease is not None:
            self._leases[lease].keys.add(key)
        self._commit((Event(EventKind.PUT, key, value, revision, created),))
        return revision

    async def delete(self, key: str, *, expected: Revision | None = None) -> bool:
        self._check_available()
        self._check_expected(key, expected)
        if key not in self._entries:
            return False
        self._delete({key})
        return True

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        self._check_available()
        outages = self._outages
        if from_revision > self._revision + 1:
            raise RelistNeeded(f"revision {from_revision} has not happened in this store")
        done = from_revision - 1
        yield WatchBatch((), Revision(done))
        while True:
            if not self._available or self._outages != outages or self._closed:
                raise StoreUnavailable("the store went away")
            if done < self._compacted:
                raise RelistNeeded(f"revision {done + 1} has been compacted")
            news = self._log[max(done - self._base, 0) :]
            done = self._revision
            events = tuple(event for group in news for event in group if event.key.startswith(prefix))
            if events:
                yield WatchBatch(events, Revision(done))
            elif not news:
                await self._changed.wait()

    async def grant(self, ttl_s: int) -> LeaseId:
        self._check_available()
        self._last_lease += 1
        lease = LeaseId(self._last_lease)
        self._leases[lease] = _Lease(ttl_s, self._now_s + ttl_s)
        return lease

    async def keep_alive(self, lease: LeaseId) -> int:
        self._check_available()
        live = self._leases.get(lease)
        if live is None:
            return 0
        live.deadline_s = self._now_s + live.ttl_s
        return live.ttl_s

    async def revoke(self, lease: LeaseId) -> None:
        self._check_available()
        self.expire(lease)

    async def status(self) -> StoreStatus:
        self._check_available()
        return StoreStatus("memory", "memory", True, Revision(self._revision))

    async def close(self) -> None:
        self._closed = True
        self._wake()

    def advance(self, seconds: float) -> None:
        """Let time pass for the leases."""
        self._now_s += seconds
        for lease in [lease for lease, live in self._leases.items() if live.deadline_s <= self._now_s]:
            self.expire(lease)

    def expire(self, lease: LeaseId) -> None:
        """End a lease now, whatever its time; its keys go in one revision. Fine if it has ended already."""
        live = self._leases.pop(lease, None)
        if live is not None and live.keys:
            self._delete(live.keys)

    def compact(self) -> None:
        """Forget the history up to now: a watch from an earlier revision must list again."""
        self._compacted = self._base = self._revision
        self._log.clear()
        self._wake()

    def set_available(self, available: bool) -> None:
        """Begin or end an outage: every call fails, and watches end."""
        if self._available and not available:
            self._outages += 1
        self._available = available
        self._wake()

    def _check_available(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not self._available:
            raise StoreUnavailable("the store is away")

    def _check_expected(self, key: str, expected: Revision | None) -> None:
        if expected is None:
            return
        entry = self._entries.get(key)
        if (entry.mod_revision if entry else 0) != expected:
            raise StoreConflict(key, expected)

    def _detach(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.lease is not None and entry.lease in self._leases:
            self._leases[entry.lease].keys.discard(key)

    def _delete(self, keys: set[str]) -> None:
        revision = Revision(self._revision + 1)
        for key in sorted(keys):
            self._detach(key)
        events = tuple(Event(EventKind.DELETE, key, b"", revision) for key in sorted(keys))
        for event in events:
            del self._entries[event.key]
        self._commit(events)

    def _commit(self, events: tuple[Event, ...]) -> None:
        self._revision += 1
        self._log.append(events)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
