"""The store as the rest of control sees it: keys with revisions, watches and leases (etcd's model, nothing of its API).

Revisions number every change of the whole store, upward. Any call may raise `StoreUnavailable` or `StoreDenied`
(`remora.control.store.errors`); each method names what else it raises.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Protocol

Revision = NewType("Revision", int)
LeaseId = NewType("LeaseId", int)

NO_REVISION = Revision(0)
"""As `expected`: the key must not exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it stands."""

    key: str
    value: bytes
    mod_revision: Revision
    """Of its last put."""
    lease: LeaseId | None = None
    """The key goes when this lease ends."""
    create_revision: Revision = field(default=NO_REVISION, compare=False)
    """Of its first put since it did not exist: says which of two keys is the older, in every replica."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix, in order, as of one revision. Watch from `revision + 1` to miss nothing."""

    entries: tuple[Entry, ...]
    revision: Revision


class EventKind(Enum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key; `value` is empty for a deletion."""

    kind: EventKind
    key: str
    value: bytes
    mod_revision: Revision
    create_revision: Revision = field(default=NO_REVISION, compare=False)
    """As in Entry; NO_REVISION for a deletion."""


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Events in order of revision; a revision is never split over two batches.

    Everything up to and including `revision` has been delivered: resume from `revision + 1`. A batch without events
    says that the watch stands (the first one) or has come this far.
    """

    events: tuple[Event, ...]
    revision: Revision


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the member that answered is doing."""

    endpoint: str
    version: str
    has_leader: bool
    """Without a leader there is no quorum: no write and no consistent read succeeds."""
    revision: Revision


class Store(Protocol):
    """Safe for any number of tasks of one event loop. Every call but `watch` ends within the store's own deadline."""

    async def list(self, prefix: str) -> Listing:
        """All keys that start with `prefix`, as of now (linearizable)."""

    async def get(self, key: str) -> Entry | None:
        """The key as of now (linearizable), or None."""

    async def put(
        self, key: str, value: bytes, *, lease: LeaseId | None = None, expected: Revision | None = None
    ) -> Revision:
        """Write, and return the revision of the write.

        `expected`: only if the key's mod_revision is this (`NO_REVISION`: only if there is no such key).
        Raises StoreConflict, LeaseGone, StoreRefused (too large, no space).
        """

    async def delete(self, key: str, *, expected: Revision | None = None) -> bool:
        """Delete; whether there was such a key. Raises StoreConflict when `expected` is not its mod_revision."""

    def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        """Changes under `prefix` with mod_revision ≥ `from_revision`, for ever. Close it (`aclosing`) when done.

        The first batch comes once the watch stands. Raises RelistNeeded, and StoreUnavailable when the connection or
        the quorum is lost: `follow()` deals with both.
        """

    async def grant(self, ttl_s: int) -> LeaseId:
        """A new lease that ends `ttl_s` seconds after its last keep-alive."""

    async def keep_alive(self, lease: LeaseId) -> int:
        """Renew; the seconds that it now has, or 0 when the lease is dead (never an error)."""

    async def revoke(self, lease: LeaseId) -> None:
        """End a lease and delete its keys; fine if it has ended already."""

    async def status(self) -> StoreStatus:
        """Health of the member that answers first."""

    async def close(self) -> None:
        """End all watches and close connections; idempotent."""
