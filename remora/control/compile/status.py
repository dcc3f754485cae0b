"""What control made of a document, as a value and as it stands under its status key."""

from __future__ import annotations

from typing import Any

import msgspec

from remora.documents.errors import Fault
from remora.documents.kinds import Document, DocumentKey


class DocumentStatus(msgspec.Struct, frozen=True):
    """What control made of a document."""

    key: DocumentKey
    revision: int
    """Of the document as last written."""
    accepted: bool
    errors: tuple[Fault, ...] = ()
    active: Document | None = None
    """What is in use: the document, or its last good version; None when there never was one."""
    active_revision: int = 0


class ActiveRecord(msgspec.Struct, frozen=True):
    """The version in use, whole: so that a control that starts beside a bad document knows the last good one."""

    revision: int
    document: dict[str, Any]


class StatusRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a status key (JSON)."""

    revision: int
    accepted: bool
    at: str
    """When control came to this view (RFC 3339, UTC)."""
    errors: tuple[Fault, ...] = ()
    active: ActiveRecord | None = None

    def says_same(self, other: StatusRecord) -> bool:
        """Whether both tell people the same, whoever wrote them and when."""
        return (self.revision, self.accepted, self.errors, self._in_use()) == (
            other.revision,
            other.accepted,
            other.errors,
            other._in_use(),
        )

    def _in_use(self) -> int:
        return self.active.revision if self.active else 0


def record_of(status: DocumentStatus, at: str) -> StatusRecord:
    active = None
    if status.active is not None:
        active = ActiveRecord(status.active_revision, msgspec.to_builtins(status.active))
    return StatusRecord(status.revision, status.accepted, at, status.errors, active)


def encode_record(record: StatusRecord) -> bytes:
    return msgspec.json.encode(record)


def decode_record(value: bytes) -> StatusRecord | None:
    """None when the value is not ours: it will be written anew."""
    try:
        return msgspec.json.decode(value, type=StatusRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
