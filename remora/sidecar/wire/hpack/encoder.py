"""The HPACK encoder: static table and raw literals, no dynamic table.

What a field becomes depends on it alone, so that callers can encode each once and remember it. Values that vary need no
more than their length put before them.
"""

from __future__ import annotations

from remora.sidecar.wire.hpack.never_indexed import NeverIndexed
from remora.sidecar.wire.hpack.table import STATIC_FIELDS, Field

NO_DYNAMIC_TABLE = b"\x20"
"""Size update to 0, the first thing in a connection's first block: the peer can free its table, and whatever
SETTINGS_HEADER_TABLE_SIZE it announces later needs no further update (RFC 7541 §4.2)."""

SENSITIVE = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"))
"""Marked never-indexed, so that no hop behind us compresses them (RFC 7541 §7.1.3)."""

_STATIC_INDEX = {field: index for index, field in reversed(list(enumerate(STATIC_FIELDS, 1)))}
_STATIC_NAME = {name: index for index, (name, _) in reversed(list(enumerate(STATIC_FIELDS, 1)))}


def encode_int(value: int, mask: int, flags: int) -> bytes:
    """An integer with the prefix of `mask` and `flags` above it (RFC 7541 §5.1)."""
    if value < mask:
        return bytes((flags | value,))
    out = bytearray((flags | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal_prefix(name: bytes, flags: int = 0) -> bytes:
    """What stands before the value of a literal field without indexing; `flags` 0x10: never to be indexed."""
    index = _STATIC_NAME.get(name)
    if index is not None:
        return encode_int(index, 0x0F, flags)
    return bytes((flags,)) + encode_int(len(name), 0x7F, 0) + name


def encode_field(field: Field) -> bytes:
    """One field, its name in lower case already."""
    name, value = field
    sensitive = name in SENSITIVE or type(value) is NeverIndexed
    index = None if sensitive else _STATIC_INDEX.get(field)
    if index is not None:
        return encode_int(index, 0x7F, 0x80)
    return literal_prefix(name, 0x10 if sensitive else 0) + encode_int(len(value), 0x7F, 0) + value
