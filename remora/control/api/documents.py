"""Documents in the store: read, applied as a batch, deleted."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from remora.control.api.problem import Problem
from remora.control.compile.catalog import Catalog
from remora.control.compile.shelf import document_key, read_document
from remora.control.store.interface import NO_REVISION, Entry, Revision, Store
from remora.control.store.keys import ConfigKey, config_key, config_prefix, parse_key
from remora.documents.conflicts import CONTESTED, Candidate, settle
from remora.documents.errors import DocumentError, Fault
from remora.documents.gateway import ReferenceGrant
from remora.documents.kinds import Document, DocumentKey, key_of
from remora.documents.mesh import TrafficPolicy
from remora.documents.parse import Parsed, parse_text, read_plain
from remora.documents.render import to_yaml

_NEWER_THAN_ALL = sys.maxsize

Result = Literal["created", "configured", "unchanged"]


class Stored(msgspec.Struct, frozen=True):
    """A document as it stands in the store."""

    key: DocumentKey
    revision: int
    document: dict[str, Any] | None
    """Plain data; None when the text is no document at all, then `text` has it."""
    text: str = ""


class Applied(msgspec.Struct, frozen=True):
    """What became, or would become, of one document of a batch."""

    document: str
    result: Result
    notes: tuple[Fault, ...] = ()
    """No errors: services named that have no instance yet."""


class Documents:
    """The documents of one environment. Every call may raise StoreError."""

    __slots__ = ("_catalog", "_env", "_store")

    def __init__(self, store: Store, catalog: Catalog, env: str) -> None:
        self._store = store
        self._catalog = catalog
        self._env = env

    async def find(self, kind: str | None, namespace: str | None) -> list[Stored]:
        """Documents in order of kind, namespace, name."""
        listing = await self._store.list(config_prefix(self._env, kind))
        found = [stored for entry in listing.entries if (stored := _stored(entry)) is not None]
        return [stored for stored in found if namespace in (None, stored.key.namespace)]

    async def get(self, key: DocumentKey) -> Stored:
        """Raises Problem (404)."""
        entry = await self._store.get(self._key(key))
        stored = _stored(entry) if entry else None
        if stored is None:
            raise _missing(key)
        return stored

    async def delete(self, key: DocumentKey) -> None:
        """Raises Problem (404)."""
        if not await self._store.delete(self._key(key)):
            raise _missing(key)

    async def apply(self, text: str, *, dry_run: bool) -> list[Applied]:
        """Check all documents of a text against what is there, then write those that differ.

        Raises Problem (422) with every fault, and then nothing is written.
        """
        parsed = parse_text(text)
        if parsed.errors:
            raise _refused(parsed.errors)
        if not parsed.documents:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no document in this")
        listing = await self._store.list(config_prefix(self._env))
        present = {str(parse_key(entry.key)): entry for entry in listing.entries}
        conflicts = self._conflicts(parsed.documents, present)
        if conflicts:
            raise _refused(conflicts)
        return await self._write(parsed, present, dry_run)

    async def _write(self, parsed: Parsed, present: dict[str, Entry], dry_run: bool) -> list[Applied]:
        results: list[Applied] = []
        for document, raw in zip(parsed.documents, parsed.raws, strict=True):
            name = self._key(key_of(document))
            before = present.get(name)
            result = _compare(before, raw)
            if result != "unchanged" and not dry_run:
                expected = before.mod_revision if before else NO_REVISION
                await self._put(name, raw, expected, results)
            results.append(Applied(str(key_of(document)), result, self._catalog.notes(document)))
        return results

    async def _put(self, name: str, raw: dict[str, Any], expected: Revision, written: list[Applied]) -> None:
        try:
            await self._store.put(name, to_yaml([raw]).encode(), expected=expected)
        except Exception as error:
            done = [applied.document for applied in written if applied.result != "unchanged"]
            if done:
                error.add_note(f"written before: {', '.join(done)}")
            raise

    def _conflicts(self, documents: Iterable[Document], present: dict[str, Entry]) -> list[DocumentError]:
        """What is wrong with these documents beside those that are there; a new document is the newest."""
        mine = {key_of(document) for document in documents}
        candidates = [self._candidate(document, present) for document in documents]
        for entry in present.values():
            candidate = _present(entry)
            if candidate is not None and candidate.latest is not None and key_of(candidate.latest) not in mine:
                candidates.append(candidate)
        return [
            DocumentError.of(str(key), fault)
            for key, verdict in settle(candidates).items()
            for fault in verdict.faults
            if key in mine
        ]

    def _candidate(self, document: Document, present: dict[str, Entry]) -> Candidate:
        entry = present.get(self._key(key_of(document)))
        created = entry.create_revision if entry else _NEWER_THAN_ALL
        return Candidate(created, document, None)

    def _key(self, key: DocumentKey) -> str:
        try:
            return config_key(self._env, key.kind, key.namespace, key.name)
        except ValueError as error:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None


def _present(entry: Entry) -> Candidate | None:
    key = parse_key(entry.key)
    if not isinstance(key, ConfigKey) or key.kind not in CONTESTED:
        return None
    outcome = read_document(document_key(key), entry.value)
    if not isinstance(outcome, TrafficPolicy | ReferenceGrant):
        return None  # what others do not depend on
    return Candidate(entry.create_revision, outcome, None)


def _stored(entry: Entry) -> Stored | None:
    key = parse_key(entry.key)
    if not isinstance(key, ConfigKey):
        return None
    raw = _plain(entry.value)
    text = "" if raw is not None else entry.value.decode(errors="replace")
    return Stored(document_key(key), entry.mod_revision, raw, text)


def _plain(value: bytes) -> dict[str, Any] | None:
    """A stored document as plain data; None when it is no map or cannot be read."""
    return read_plain(value.decode(errors="replace"))


def _compare(before: Entry | None, raw: dict[str, Any]) -> Result:
    if before is None:
        return "created"
    return "unchanged" if _plain(before.value) == raw else "configured"


def _missing(key: DocumentKey) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"there is no {key}")


def _refused(errors: Iterable[DocumentError]) -> Problem:
    found = tuple(errors)
    documents = "a document" if len({error.document for error in found}) == 1 else "documents"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"nothing was applied: {documents} refused", found)
