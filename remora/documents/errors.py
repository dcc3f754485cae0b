"""One taxonomy for everything that can be wrong with a document."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong at one place of a document."""

    path: str
    """`spec.rules[0].backendRefs[1].weight`; empty: the document as a whole."""
    message: str
    """What is wrong and what to do, without the place: it reads well after `PATH: `."""
    allowed: tuple[str, ...] = ()
    """The fields or values that could stand there, when they can be listed."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DocumentError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault and the document that has it."""

    document: str
    """`HTTPRoute default/reviews`, or where it stands in its file when it has no name."""
    path: str
    message: str
    allowed: tuple[str, ...] = ()
    source: str = ""
    """File that it was read from, if any."""

    @classmethod
    def of(cls, document: str, fault: Fault, source: str = "") -> DocumentError:
        return cls(document, fault.path, fault.message, fault.allowed, source)

    def __str__(self) -> str:
        parts = (self.source, self.document, self.path, self.message)
        return ": ".join(part for part in parts if part)


def not_one_of(what: str, given: str, allowed: Iterable[str]) -> str:
    """`unknown field 'weigth', did you mean weight? (allowed: group, kind, …)`."""
    choices = sorted(allowed)
    close = difflib.get_close_matches(given, choices, n=1)
    guess = f", did you mean {close[0]}?" if close else ""
    return f"{what} {given!r}{guess} (allowed: {', '.join(choices)})"


def article(noun: str) -> str:
    """The noun with `a` or `an`."""
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"
