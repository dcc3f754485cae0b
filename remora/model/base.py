"""What all types of the model are made of."""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """Base of the model: immutable, and tolerant of fields that a newer control may send."""


class Origin(Struct, frozen=True):
    """The document that a piece of configuration comes from, for people who ask why."""

    kind: str
    namespace: str
    name: str
    revision: int = 0
    rule: int = 0
    """Index in the document's `spec.rules`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
