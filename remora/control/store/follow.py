"""Follow a prefix for ever: list, watch, after any trouble resume or list again, so that no change is ever missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from remora.control.store.errors import RelistNeeded, StoreError
from remora.control.store.interface import Event, EventKind, Listing, Revision, Store


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: the n-th delay is random between 0 and min(cap, base · 2ⁿ) seconds."""

    base_s: float = 0.1
    cap_s: float = 5.0

    def delay_s(self, failures: int, share: float) -> float:
        """The delay after so many failures in a row (from 1); `share` is random in [0, 1)."""
        return share * min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))


@dataclass(frozen=True, slots=True)
class Update:
    """Changes, in order. Having applied them, the follower has the prefix as of `revision`."""

    events: tuple[Event, ...]
    revision: Revision
    listed: bool
    """From a whole list (the first update always): `events` is what differs from before, deletions included."""


@dataclass(frozen=True, slots=True)
class FollowState:
    """Whether changes are coming in; `error` says in a sentence why not."""

    connected: bool
    error: str = ""


_Fingerprint = tuple[Revision, int]


def _ignore(_state: FollowState) -> None:
    """For those who do not ask."""


async def follow(
    store: Store,
    prefix: str,
    *,
    on_state: Callable[[FollowState], None] = _ignore,
    backoff: Backoff = Backoff(),
) -> AsyncGenerator[Update, None]:
    """Yield all of `prefix`, then each change of it; never ends and never raises a StoreError.

    The first update is the whole prefix, even if empty. While the store is away nothing comes and `on_state` gets
    `FollowState(False, why)` once per reason; on return, what was missed comes, each key's last change at least.
    Denied access is told and tried again too: it may be granted. Close it (`aclosing`) when done.
    """
    follower = _Follower(store, prefix, on_state)
    while True:
        try:
            async with aclosing(follower.run()) as updates:
                async for update in updates:
                    yield update
        except RelistNeeded:
            follower.forget_position()
        except StoreError as error:
            follower.set_state(FollowState(False, str(error)))
        follower.failures += 1
        await asyncio.sleep(backoff.delay_s(follower.failures, random.random()))


class _Follower:
    """What has been seen so far, over all connections."""

    __slots__ = ("_on_state", "_position", "_prefix", "_seen", "_state", "_store", "failures")

    def __init__(self, store: Store, prefix: str, on_state: Callable[[FollowState], None]) -> None:
        self.failures = 0
        """In a row, since the watch last stood."""
        self._store = store
        self._prefix = prefix
        self._on_state = on_state
        self._state: FollowState | None = None
        self._seen: dict[str, _Fingerprint] = {}
        self._position: Revision | None = None
        """All changes up to here were yielded; None: only a list can tell."""

    async def run(self) -> AsyncGenerator[Update, None]:
        """Updates until an error."""
        if self._position is None:
            update = self._compare(await self._store.list(self._prefix))
            self._position = update.revision
            yield update
        async with aclosing(self._store.watch(self._prefix, Revision(self._position + 1))) as batches:
            async for batch in batches:
                self.failures = 0
                self.set_state(FollowState(True))
                self._note(batch.events)
                self._position = batch.revision
                if batch.events:
                    yield Update(batch.events, batch.revision, listed=False)

    def forget_position(self) -> None:
        self._position = None

    def set_state(self, state: FollowState) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)

    def _compare(self, listing: Listing) -> Update:
        """What the listing changes."""
        now = {entry.key: _fingerprint(entry.mod_revision, entry.value) for entry in listing.entries}
        events = [
            Event(EventKind.PUT, entry.key, entry.value, entry.mod_revision)
            for entry in listing.entries
            if self._seen.get(entry.key) != now[entry.key]
        ]
        gone = sorted(self._seen.keys() - now.keys())
        events += [Event(EventKind.DELETE, key, b"", listing.revision) for key in gone]
        self._seen = now
        return Update(tuple(events), listing.revision, listed=True)

    def _note(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.kind is EventKind.PUT:
                self._seen[event.key] = _fingerprint(event.mod_revision, event.value)
            else:
                self._seen.pop(event.key, None)


def _fingerprint(mod_revision: Revision, value: bytes) -> _Fingerprint:
    """A store that was wiped or restored counts anew: the same revision may then stand for another value."""
    return mod_revision, hash(value)
