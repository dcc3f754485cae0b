"""Header blocks → heads and trailers, mostly from memory.

As long as the peer's dynamic table does not change, equal blocks mean equal heads, so that a block which has come
before costs one look-up. Where only what VOLATILE names differs and stands at the end, as our own peers send it, the
start of the block is looked up and just the rest is read.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from remora.sidecar.wire.heads import MESH_BYTES, Fields, RequestHead, ResponseHead, size_of, size_of_fields
from remora.sidecar.wire.hpack import Decoder
from remora.sidecar.wire.hpack.table import ENTRY_OVERHEAD_BYTES
from remora.sidecar.wire.http2.fields import (
    VOLATILE,
    is_value,
    malformed,
    read_request,
    read_response,
    read_trailers,
    take_volatile,
)
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.refused import head_too_large

T = TypeVar("T")

MAX_REMEMBERED_BLOCKS = 128
MAX_REMEMBERED_BYTES = 1024
"""Of one block: with the number above, what a peer can make us keep for it."""
MAX_REST_SIZES = 4
"""Lengths tried for the part of a block that varies."""
MESH_FIELDS = 16
"""What there may be of pseudo-fields, and of fields that the mesh adds, besides those that are limited."""


class _Start(NamedTuple):
    """What the beginning of a block stands for."""

    head: RequestHead
    fields: Fields
    list_bytes: int


class BlockReader:
    """The header blocks of one direction of a connection, read in order: the table is shared."""

    __slots__ = (
        "_decoder",
        "_generation",
        "_limits",
        "_max_list_bytes",
        "_requests",
        "_responses",
        "_rest_sizes",
        "_starts",
        "_trailers",
    )

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        # A head from HTTP/1 that is within the limits may be larger here, though not by more.
        overhead = ENTRY_OVERHEAD_BYTES * (limits.fields + MESH_FIELDS)
        self._max_list_bytes = limits.head_bytes + MESH_BYTES + overhead
        self._decoder = Decoder(max_list_bytes=self._max_list_bytes, volatile=VOLATILE)
        self._generation = 0
        self._requests: dict[bytes, RequestHead] = {}
        self._responses: dict[bytes, ResponseHead] = {}
        self._trailers: dict[bytes, Fields] = {}
        self._starts: dict[bytes, _Start] = {}
        self._rest_sizes: list[int] = []

    def request(self, block: bytes) -> RequestHead:
        """Raises Http2StreamError, RefusedError, HpackError."""
        if self._decoder.table.generation != self._generation:
            self._forget()
        known = self._requests.get(block)
        if known is not None:
            return _copy(known)
        for size in self._rest_sizes:
            start = self._starts.get(block[:-size])
            if start is not None:
                return self._request_from(start, block, len(block) - size)
        return self._new_request(block)

    def response(self, block: bytes) -> ResponseHead:
        """Raises Http2StreamError, HpackError."""
        if self._decoder.table.generation != self._generation:
            self._forget()
        head = self._responses.get(block)
        if head is None:
            head = read_response(self._decoder.decode(block), self._limits)
            self._check_size(head.fields, "a response head")
            self._remember(self._responses, block, head)
        return ResponseHead(head.status, head.fields, content_length=head.content_length, version=b"2")

    def trailers(self, block: bytes) -> Fields:
        """Raises Http2StreamError, HpackError."""
        if self._decoder.table.generation != self._generation:
            self._forget()
        fields = self._trailers.get(block)
        if fields is None:
            fields = read_trailers(self._decoder.decode(block), self._limits)
            self._check_size(fields, "trailers")
            self._remember(self._trailers, block, fields)
        return fields

    def skip(self, block: bytes) -> None:
        """Read a block only so that the table follows. Raises HpackError."""
        self._decoder.decode(block)

    def _new_request(self, block: bytes) -> RequestHead:
        decoder = self._decoder
        fields = decoder.decode(block)
        if decoder.list_bytes > self._limits.head_bytes:
            return self._large_request(fields, decoder.list_bytes)
        offset, count = decoder.volatile_offset, decoder.volatile_count
        head = read_request(fields, self._limits)
        if head.upgrade is not None:
            return head
        if offset >= 0 and all(name in VOLATILE for name, _ in fields[count:]):
            self._remember_start(block, offset, fields[:count])
        else:
            self._remember(self._requests, block, head)
        # The remembered one stays as it is: handlers write into the slots of theirs.
        return _copy(head)

    def _remember_start(self, block: bytes, offset: int, fields: Fields) -> None:
        head = read_request(fields, self._limits)
        list_bytes = sum(len(name) + len(value) + ENTRY_OVERHEAD_BYTES for name, value in fields)
        self._remember(self._starts, block[:offset], _Start(head, fields, list_bytes))
        size = len(block) - offset
        if size in self._rest_sizes:
            return
        self._rest_sizes = [size, *self._rest_sizes[: MAX_REST_SIZES - 1]]

    def _request_from(self, start: _Start, block: bytes, offset: int) -> RequestHead:
        """A block whose start is known; `offset` is where the rest begins."""
        rest = self._decoder.decode(block, offset)
        list_bytes = start.list_bytes + self._decoder.list_bytes
        if list_bytes > self._limits.head_bytes:
            return self._large_request(start.fields + rest, list_bytes)
        head = _copy(start.head)
        for name, value in rest:
            if not take_volatile(head, name, value):
                return read_request(start.fields + rest, self._limits)
            if not is_value(value):
                raise malformed(f"bad field {name!r}")
        return head

    def _large_request(self, fields: Fields, list_bytes: int) -> RequestHead:
        """One that may be over the limit: only what the mesh adds, and HTTP/2 itself, may go beyond it."""
        if list_bytes > self._max_list_bytes:
            raise head_too_large(self._limits)
        head = read_request(fields, self._limits)
        if size_of(head) > self._limits.head_bytes:
            raise head_too_large(self._limits)
        return head

    def _check_size(self, fields: Fields, what: str) -> None:
        size, limit = self._decoder.list_bytes, self._limits.head_bytes
        if size > limit and (size > self._max_list_bytes or size_of_fields(fields) > limit):
            raise malformed(f"{what} of over {limit} bytes")

    def _remember(self, memo: dict[bytes, T], block: bytes, value: T) -> None:
        """Until the table changes; if this block has changed it, that is at the next one."""
        if len(block) > MAX_REMEMBERED_BYTES:
            return
        if len(memo) >= MAX_REMEMBERED_BLOCKS:
            memo.clear()
        memo[block] = value

    def _forget(self) -> None:
        self._generation = self._decoder.table.generation
        self._requests.clear()
        self._responses.clear()
        self._trailers.clear()
        self._starts.clear()


def _copy(head: RequestHead) -> RequestHead:
    return RequestHead(
        head.method,
        head.path,
        head.authority,
        head.fields,
        scheme=head.scheme,
        content_length=head.content_length,
        content_type=head.content_type,
        expect_continue=head.expect_continue,
        trace_parent=head.trace_parent,
        request_id=head.request_id,
        grpc_timeout=head.grpc_timeout,
        was_forwarded=head.was_forwarded,
    )
