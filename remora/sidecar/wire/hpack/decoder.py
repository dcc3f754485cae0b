"""The HPACK decoder (RFC 7541 §3, §6)."""

from __future__ import annotations

from remora.sidecar.wire.hpack.errors import HpackBombError, HpackError
from remora.sidecar.wire.hpack.huffman import huffman_decode
from remora.sidecar.wire.hpack.never_indexed import NeverIndexed
from remora.sidecar.wire.hpack.table import ENTRY_OVERHEAD_BYTES, DynamicTable, Field

DEFAULT_TABLE_BYTES = 4096
"""SETTINGS_HEADER_TABLE_SIZE when nobody says otherwise (RFC 9113 §6.5.2)."""

MAX_INT_BYTES = 4
"""Continuation bytes of an integer: 28 bits, beyond any length or index that we could take (RFC 7541 §5.1)."""

BOMB_FACTOR = 16
"""A list this many times over the limit ends the connection; a smaller excess only costs its own request."""


class Decoder:
    """Turns header blocks into field lists. One for each direction of a connection.

    `max_list_bytes` bounds what `decode` returns, counted as SETTINGS_MAX_HEADER_LIST_SIZE is (octets + 32 a field).
    Beyond it fields are dropped, but the block is read on, since the table has to follow: see `list_bytes`.
    `volatile` names fields whose value is another in each message; see `volatile_offset`.
    """

    __slots__ = (
        "_max_list_bytes",
        "_max_table_bytes",
        "_volatile_names",
        "list_bytes",
        "table",
        "volatile_count",
        "volatile_offset",
    )

    def __init__(
        self,
        *,
        max_list_bytes: int,
        max_table_bytes: int = DEFAULT_TABLE_BYTES,
        volatile: frozenset[bytes] = frozenset(),
    ) -> None:
        self.table = DynamicTable(max_table_bytes)
        """As long as its generation is the same, so is the meaning of equal blocks."""
        self._max_table_bytes = max_table_bytes
        self._max_list_bytes = max_list_bytes
        self._volatile_names = volatile
        self.list_bytes = 0
        """Size of the list last decoded, dropped fields included."""
        self.volatile_offset = -1
        """Where in the block last decoded the first volatile literal stands, or -1; what stands before it means the
        same in any block as long as `table.generation` does not change."""
        self.volatile_count = 0
        """How many fields stand before it."""

    def decode(self, block: bytes, start: int = 0) -> list[Field]:
        """The fields of `block` from `start`, which is 0 or the end of a field.

        Raises HpackError (COMPRESSION_ERROR); after it the decoder is of no more use.
        """
        self.list_bytes = 0
        self.volatile_offset = -1
        try:
            offset = start or self._read_size_updates(block)
            return self._read_fields(block, offset)
        except IndexError:
            raise HpackError("a header block ends in the middle of a field") from None

    def _read_size_updates(self, block: bytes) -> int:
        """Dynamic table size updates stand before the first field only (RFC 7541 §4.2)."""
        offset = 0
        while offset < len(block) and block[offset] & 0xE0 == 0x20:
            size, offset = _read_int(block, offset, 0x1F)
            if size > self._max_table_bytes:
                raise HpackError(f"table size {size} is over the agreed {self._max_table_bytes}")
            self.table.resize(size)
        return offset

    def _read_fields(self, block: bytes, offset: int) -> list[Field]:
        table = self.table
        limit = self._max_list_bytes
        end = len(block)
        fields: list[Field] = []
        total = 0
        while offset < end:
            first = block[offset]
            if first >= 0x80:
                index = first & 0x7F
                offset += 1
                if index == 0x7F:
                    index, offset = _read_int(block, offset - 1, 0x7F)
                field = table.get(index)
            else:
                begin = offset
                field, offset = self._read_literal(block, offset, first)
                if self.volatile_offset < 0 and field[0] in self._volatile_names:
                    self.volatile_offset = begin
                    self.volatile_count = len(fields)
            total += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
            if total <= limit:
                fields.append(field)
            elif total > limit * BOMB_FACTOR:
                raise HpackBombError(f"a header block unfolds to over {limit * BOMB_FACTOR} bytes")
        self.list_bytes = total
        return fields

    def _read_literal(self, block: bytes, offset: int, first: int) -> tuple[Field, int]:
        """A literal field (RFC 7541 §6.2): 01 with indexing, 0000 without, 0001 never indexed."""
        if first & 0xE0 == 0x20:
            raise HpackError("a table size update stands after a field")
        mask = 0x3F if first & 0x40 else 0x0F
        index = first & mask
        if index == mask:
            index, offset = _read_int(block, offset, mask)
        else:
            offset += 1
        if index:
            name = self.table.get(index)[0]
        elif (length := block[offset]) < 0x7F:
            # Short and raw, as most are from our own peers. What is cut off here shows at the next byte.
            begin, offset = offset + 1, offset + 1 + length
            name = block[begin:offset]
        else:
            name, offset = _read_string(block, offset)
        if (length := block[offset]) < 0x7F and offset + length < len(block):
            begin, offset = offset + 1, offset + 1 + length
            value = block[begin:offset]
        else:
            value, offset = _read_string(block, offset)
        if first & 0x40:
            field = (name, value)
            self.table.add(field)
            return field, offset
        if first & 0x10 and not name.startswith(b":"):
            value = NeverIndexed(value)
        return (name, value), offset


def _read_int(block: bytes, offset: int, mask: int) -> tuple[int, int]:
    """An integer whose prefix is the bits of `mask` in the byte at `offset` (RFC 7541 §5.1); and what follows it."""
    value = block[offset] & mask
    offset += 1
    if value < mask:
        return value, offset
    for shift in range(0, 7 * MAX_INT_BYTES, 7):
        byte = block[offset]
        offset += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise HpackError("an integer has too many bytes")


def _read_string(block: bytes, offset: int) -> tuple[bytes, int]:
    """A string literal (RFC 7541 §5.2), and the offset after it."""
    first = block[offset]
    length = first & 0x7F
    offset += 1
    if length == 0x7F:
        length, offset = _read_int(block, offset - 1, 0x7F)
    end = offset + length
    if end > len(block):
        raise HpackError("a string is longer than its header block")
    raw = block[offset:end]
    return (huffman_decode(raw) if first >= 0x80 else raw), end
