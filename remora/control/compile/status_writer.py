"""Writes what control made of each document under its status key: once per change, however many replicas there are.

A replica writes when the key says something else than it would say, compares and swaps on the key's revision, and says
one thing about one revision of a document only once: replicas that disagree (during an upgrade) do not take turns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from remora.control.compile.catalog import Catalog, Changes
from remora.control.compile.status import StatusRecord, decode_record, encode_record, record_of
from remora.control.store.errors import StoreConflict, StoreError, StoreRefused
from remora.control.store.follow import Backoff
from remora.control.store.interface import NO_REVISION, Event, EventKind, Revision, Store
from remora.control.store.keys import StatusKey, parse_key, status_key
from remora.documents.kinds import DocumentKey

log = logging.getLogger(__name__)

_BACKOFF = Backoff()


class _Stored(msgspec.Struct, frozen=True):
    """A status key as the watch showed it last."""

    record: StatusRecord | None
    """None: the value is not ours."""
    mod_revision: Revision


class StatusWriter:
    """Brings the status keys of one environment in line with the catalog. `run` until cancelled."""

    __slots__ = ("_backoff", "_catalog", "_env", "_now", "_said", "_store", "_stored", "_waiting", "_woken")

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        env: str,
        *,
        now: Callable[[], float] = time.time,
        backoff: Backoff = _BACKOFF,
    ) -> None:
        """`now`: Unix time, for the `at` of a status."""
        self._store = store
        self._catalog = catalog
        self._env = env
        self._now = now
        self._backoff = backoff
        self._stored: dict[DocumentKey, _Stored] = {}
        self._said: dict[DocumentKey, StatusRecord] = {}
        self._waiting: dict[DocumentKey, None] = {}
        self._woken = asyncio.Event()

    def take(self, events: Iterable[Event], changes: Changes) -> None:
        """After each `Catalog.apply`: the same events, and what they changed."""
        for event in events:
            key = parse_key(event.key)
            if isinstance(key, StatusKey) and key.env == self._env:
                self._observe(DocumentKey(key.kind, key.namespace, key.name), event)
        self._waiting.update(dict.fromkeys(status.key for status in changes.statuses))
        self._waiting.update(dict.fromkeys(changes.removed))
        if self._waiting:
            self._woken.set()

    async def run(self) -> None:
        """Write what waits, for ever; while the store is away, it waits."""
        failures = 0
        while True:
            await self._woken.wait()
            try:
                await self._drain()
                failures = 0
            except StoreError as error:
                failures += 1
                if failures == 1:
                    log.warning("Statuses of documents cannot be written, trying on: %s", error)
                # At least half of the backoff: a store that refuses at once must not be hammered.
                await asyncio.sleep(self._backoff.delay_s(failures, 0.75))

    async def _drain(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            await self._write(key)
            self._waiting.pop(key, None)
        self._woken.clear()

    def _observe(self, key: DocumentKey, event: Event) -> None:
        if event.kind is EventKind.DELETE:
            self._stored.pop(key, None)
        else:
            self._stored[key] = _Stored(decode_record(event.value), event.mod_revision)
        self._waiting[key] = None

    async def _write(self, key: DocumentKey) -> None:
        """One key. What another replica did meanwhile comes with the watch, and is looked at then."""
        stored = self._stored.get(key)
        status = self._catalog.status(key)
        name = status_key(self._env, key.kind, key.namespace, key.name)
        try:
            if status is None:
                self._said.pop(key, None)
                if stored is not None:
                    await self._store.delete(name, expected=stored.mod_revision)
                return
            record = record_of(status, _rfc3339(self._now()))
            if self._is_worth_saying(key, record, stored):
                expected = stored.mod_revision if stored else NO_REVISION
                await self._store.put(name, encode_record(record), expected=expected)
                self._said[key] = record
        except StoreConflict:
            return
        except StoreRefused as error:
            log.error("The status of %s cannot be written: %s", key, error)

    def _is_worth_saying(self, key: DocumentKey, record: StatusRecord, stored: _Stored | None) -> bool:
        if stored is None or stored.record is None:
            return True
        if stored.record.revision > record.revision:
            return False  # another replica is ahead of us
        said = self._said.get(key)
        return not record.says_same(stored.record) and not (said is not None and record.says_same(said))


def _rfc3339(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
