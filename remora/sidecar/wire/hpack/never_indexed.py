"""Values that no table may hold. Apart from what is compiled: mypyc has no subclasses of bytes."""

from __future__ import annotations


class NeverIndexed(bytes):
    """The value of a field that its sender wants in no table (RFC 7541 §6.2.3), which whoever passes it on honours.

    Reads as plain bytes. Hashes apart from them, so that what is remembered of the one is never taken for the other:
    it is no key to look up by, so pseudo-fields are never marked: no secrets are in them.
    """

    __slots__ = ()

    def __hash__(self) -> int:
        return ~super().__hash__()
