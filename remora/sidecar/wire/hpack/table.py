"""The static and the dynamic table (RFC 7541 §2.3)."""

from __future__ import annotations

from remora.sidecar.wire.hpack.errors import HpackError

Field = tuple[bytes, bytes]

ENTRY_OVERHEAD_BYTES = 32
"""What an entry counts above its octets (RFC 7541 §4.1)."""

STATIC_FIELDS: tuple[Field, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
"""RFC 7541 appendix A; the first has index 1."""

STATIC_COUNT = len(STATIC_FIELDS)


class DynamicTable:
    """The peer's recent fields, newest last, bounded by their size."""

    __slots__ = ("entries", "generation", "max_size", "size")

    def __init__(self, max_size: int) -> None:
        self.entries: list[Field] = []
        self.max_size = max_size
        self.size = 0
        self.generation = 0
        """Changes whenever an index may have come to mean something else."""

    def add(self, field: Field) -> None:
        """Insert; a field larger than the table empties it, which is no error (RFC 7541 §4.4)."""
        self.entries.append(field)
        self.size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
        self.generation += 1
        if self.size > self.max_size:
            self._evict()

    def resize(self, max_size: int) -> None:
        """Counts as a change even when nothing goes, so that no block with a resize is ever taken from memory."""
        self.max_size = max_size
        self.generation += 1
        if self.size > max_size:
            self._evict()

    def _evict(self) -> None:
        gone = 0
        for name, value in self.entries:
            if self.size <= self.max_size:
                break
            self.size -= len(name) + len(value) + ENTRY_OVERHEAD_BYTES
            gone += 1
        del self.entries[:gone]

    def get(self, index: int) -> Field:
        """The field at `index` of static and dynamic table together (RFC 7541 §2.3.3)."""
        if 0 < index <= STATIC_COUNT:
            return STATIC_FIELDS[index - 1]
        if STATIC_COUNT < index <= STATIC_COUNT + len(self.entries):
            return self.entries[STATIC_COUNT - index]
        raise HpackError(f"index {index} is in no table")
