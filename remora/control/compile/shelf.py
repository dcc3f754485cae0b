"""The documents of one environment: as last written, and the version of each that is in use."""

from __future__ import annotations

from collections.abc import Iterable

from remora.control.compile.active import Active, activate
from remora.control.compile.status import ActiveRecord, DocumentStatus
from remora.control.store.keys import ConfigKey
from remora.documents.conflicts import CONTESTED, Candidate, Verdict, settle
from remora.documents.errors import Fault
from remora.documents.kinds import Document, DocumentKey, key_of
from remora.documents.parse import parse_one, parse_raw
from remora.documents.references import subjects
from remora.model.names import ServiceName

_NOTHING: dict[DocumentKey, Active] = {}


def document_key(key: ConfigKey) -> DocumentKey:
    return DocumentKey(key.kind, key.namespace, key.name)


def read_document(key: DocumentKey, value: bytes) -> Document | tuple[Fault, ...]:
    """The document under a key, or why it is refused."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return (Fault("", f"this is not UTF-8 text (at byte {error.start})"),)
    outcome = parse_one(text)
    if isinstance(outcome, tuple):
        return tuple(Fault(error.path, error.message, error.allowed) for error in outcome)
    return _disagreements(key, key_of(outcome)) or outcome


def _disagreements(key: DocumentKey, found: DocumentKey) -> tuple[Fault, ...]:
    places = (
        ("kind", key.kind, found.kind),
        ("metadata.namespace", key.namespace, found.namespace),
        ("metadata.name", key.name, found.name),
    )
    return tuple(
        Fault(path, f"the document says {is_!r}, its key {wanted!r}; both must be the same", (wanted,))
        for path, wanted, is_ in places
        if wanted != is_
    )


class _Slot:
    """A document as last written, and as it last worked."""

    __slots__ = ("created", "faults", "good", "good_is_free", "good_revision", "latest", "revision")

    def __init__(self) -> None:
        self.revision = 0
        self.created = 0
        self.latest: Document | None = None
        """None: it is refused for itself."""
        self.faults: tuple[Fault, ...] = ()
        """Why `latest` is not in use."""
        self.good: Document | None = None
        """The version that was in use last."""
        self.good_revision = 0
        self.good_is_free = True
        """No other document has taken what `good` needs, and what it needs is granted."""

    def take(self, verdict: Verdict | None) -> bool:
        """What was decided between it and others; whether that is new."""
        before = self.faults, self.good_is_free
        self.good_is_free = verdict is not None and verdict.used is not None
        if self.latest is not None and verdict is not None:
            self.faults = verdict.faults
        return before != (self.faults, self.good_is_free)

    def to_use(self) -> tuple[Document, int] | None:
        """What should be in use, and its revision."""
        if self.latest is not None and not self.faults:
            return self.latest, self.revision
        if self.good is not None and self.good_is_free:
            return self.good, self.good_revision
        return None


class Shelf:
    """Takes documents, says which services they touch and what is in use for each."""

    __slots__ = ("_by_service", "_in_use", "_slots", "_touched")

    def __init__(self) -> None:
        self._slots: dict[DocumentKey, _Slot] = {}
        self._in_use: dict[DocumentKey, Active] = {}
        self._by_service: dict[ServiceName, dict[DocumentKey, Active]] = {}
        self._touched: set[DocumentKey] = set()

    def put(self, key: DocumentKey, value: bytes, revision: int, created: int) -> None:
        """A document was written."""
        slot = self._slots.setdefault(key, _Slot())
        slot.revision = revision
        slot.created = created
        outcome = read_document(key, value)
        if isinstance(outcome, tuple):
            slot.latest, slot.faults = None, outcome
        else:
            slot.latest, slot.faults = outcome, ()
        self._touched.add(key)

    def delete(self, key: DocumentKey) -> None:
        if self._slots.pop(key, None) is not None:
            self._touched.add(key)

    def remember(self, key: DocumentKey, record: ActiveRecord) -> None:
        """The version that another control, or this one before a restart, had in use."""
        slot = self._slots.get(key)
        if slot is None or record.revision <= slot.good_revision:
            return
        if record.revision == slot.revision and slot.latest is not None:
            return
        outcome = parse_raw(record.document)
        if not isinstance(outcome, tuple) and key_of(outcome) == key:
            slot.good, slot.good_revision = outcome, record.revision
            self._touched.add(key)

    def settle(self) -> tuple[set[ServiceName], set[DocumentKey]]:
        """Put to use what was written since: (services touched, documents whose status may have changed)."""
        touched, self._touched = self._touched, set()
        if any(key.kind in CONTESTED for key in touched):
            touched |= self._settle_contested()
        services: set[ServiceName] = set()
        for key in touched:
            services |= self._replace(key)
        return services, touched

    def of_service(self, service: ServiceName) -> Iterable[Active]:
        """What is in use for a service."""
        return self._by_service.get(service, _NOTHING).values()

    def has(self, service: ServiceName) -> bool:
        return service in self._by_service

    def status(self, key: DocumentKey) -> DocumentStatus | None:
        """None: there is no such document."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        active = self._in_use.get(key)
        if active is None:
            return DocumentStatus(key, slot.revision, not slot.faults, slot.faults)
        return DocumentStatus(key, slot.revision, not slot.faults, slot.faults, active.document, active.revision)

    def _settle_contested(self) -> set[DocumentKey]:
        """Decide what documents take from each other and grant each other; those for which that has changed."""
        slots = {key: slot for key, slot in self._slots.items() if key.kind in CONTESTED}
        verdicts = settle(Candidate(slot.created, slot.latest, slot.good) for slot in slots.values())
        return {key for key, slot in slots.items() if slot.take(verdicts.get(key))}

    def _replace(self, key: DocumentKey) -> set[ServiceName]:
        """Bring what is in use of a document in line; the services that this touches."""
        slot = self._slots.get(key)
        before = self._in_use.pop(key, None)
        after = _activate(slot, before) if slot else None
        if slot is not None and after is not None:
            self._in_use[key] = after
            slot.good, slot.good_revision = after.document, after.revision
        if after is before:
            return set()
        return self._detach(key, before) | self._attach(key, after)

    def _attach(self, key: DocumentKey, active: Active | None) -> set[ServiceName]:
        services = set(subjects(active.document)) if active else set()
        for service in services:
            assert active is not None
            self._by_service.setdefault(service, {})[key] = active
        return services

    def _detach(self, key: DocumentKey, active: Active | None) -> set[ServiceName]:
        services = set(subjects(active.document)) if active else set()
        for service in services:
            documents = self._by_service[service]
            del documents[key]
            if not documents:
                del self._by_service[service]
        return services


def _activate(slot: _Slot, before: Active | None) -> Active | None:
    """Compile what should be in use; the same document written again stays as it is: nothing has changed."""
    chosen = slot.to_use()
    if chosen is None:
        return None
    document, revision = chosen
    if before is not None and before.document == document:
        return before
    return activate(document, revision, slot.created)
