"""Heads and trailers → header blocks.

What does not vary is encoded once: the start of a request (pseudo-fields, content type) as a whole, and each field by
itself. What varies (content-length, grpc-timeout, traceparent, x-request-id) comes last, raw, so that a peer which
remembers how blocks start, as ours does, meets the same start again.
"""

from __future__ import annotations

from remora.sidecar.wire.heads import HOP_BY_HOP, Fields, RequestHead, ResponseHead
from remora.sidecar.wire.hpack import SENSITIVE, encode_field, encode_int, literal_prefix
from remora.sidecar.wire.http2.tunnels import KEY_FIELD

MAX_REMEMBERED_FIELDS = 2048
MAX_REMEMBERED_STARTS = 512
MAX_REMEMBERED_BYTES = 256
"""Of one value; longer ones seldom come twice."""

Field = tuple[bytes, bytes]
Start = tuple[bytes, bytes, bytes, bytes, bytes | None]
"""Method, scheme, authority, path, content type."""

_CONTENT_LENGTH = literal_prefix(b"content-length")
_GRPC_TIMEOUT = literal_prefix(b"grpc-timeout")
_TRACE_PARENT = literal_prefix(b"traceparent")
_REQUEST_ID = literal_prefix(b"x-request-id")
_EXPECT = encode_field((b"expect", b"100-continue"))
_SHORT_LENGTHS = tuple(bytes((length,)) for length in range(0x7F))


class _EncodedFields(dict[Field, bytes]):
    """Field → what it becomes on the wire; asked for one that it has not, it makes it. The memo of a pure function."""

    __slots__ = ()

    def __missing__(self, field: Field) -> bytes:
        encoded = _encode(field)
        if len(field[1]) <= MAX_REMEMBERED_BYTES and field[0] not in SENSITIVE:
            if len(self) >= MAX_REMEMBERED_FIELDS:
                self.clear()
            self[field] = encoded
        return encoded


class _EncodedStarts(dict[Start, bytes]):
    """Start of a request → what it becomes on the wire; likewise."""

    __slots__ = ()

    def __missing__(self, start: Start) -> bytes:
        encoded = _encode_start(*start)
        if len(encoded) <= 2 * MAX_REMEMBERED_BYTES:
            if len(self) >= MAX_REMEMBERED_STARTS:
                self.clear()
            self[start] = encoded
        return encoded


class _EncodedStatuses(dict[int, bytes]):
    __slots__ = ()

    def __missing__(self, status: int) -> bytes:
        encoded = self[status] = encode_field((b":status", b"%d" % status))
        return encoded


def _encode(field: Field) -> bytes:
    """As HTTP/2 wants it (RFC 9113 §8.2): lower case, no space around the value, nothing of the connection."""
    name, value = field[0].lower(), field[1].strip(b" \t")
    if name in HOP_BY_HOP or name == b"host":
        return b""
    if name == b"te":
        # Only `trailers` is left in HTTP/2 (RFC 9113 §8.2.2).
        kept = b"trailers" in {part.strip().lower() for part in value.split(b",")}
        return encode_field((b"te", b"trailers")) if kept else b""
    if (name, value) == field:
        return encode_field(field)
    return encode_field((name, value))


def _encode_start(method: bytes, scheme: bytes, authority: bytes, path: bytes, content_type: bytes | None) -> bytes:
    pseudo = [(b":method", method)]
    if method != b"CONNECT":
        pseudo += [(b":scheme", scheme), (b":path", path)]
    if authority:
        pseudo.append((b":authority", authority))
    if content_type is not None:
        pseudo.append((b"content-type", content_type))
    return b"".join(map(encode_field, pseudo))


_encoded_field = _EncodedFields().__getitem__
_encoded_start = _EncodedStarts().__getitem__
_encoded_status = _EncodedStatuses().__getitem__


def _value(value: bytes) -> bytes:
    size = len(value)
    return (_SHORT_LENGTHS[size] if size < 0x7F else encode_int(size, 0x7F, 0)) + value


def tunnel_block(head: RequestHead, protocol: bytes) -> bytes:
    """Of a request for a switch to `protocol`: an extended CONNECT (RFC 8441 §4)."""
    pseudo = [(b":method", b"CONNECT"), (b":protocol", protocol), (b":scheme", head.scheme), (b":path", head.path)]
    if head.authority:
        pseudo.append((b":authority", head.authority))
    if head.content_type is not None:
        pseudo.append((b"content-type", head.content_type))
    fields = (field for field in head.fields if field[0].lower() != KEY_FIELD)
    return _ended(b"".join(map(encode_field, pseudo)) + b"".join(map(_encoded_field, fields)), head)


def request_block(head: RequestHead) -> bytes:
    block = _encoded_start((head.method, head.scheme, head.authority, head.path, head.content_type)) + b"".join(
        map(_encoded_field, head.fields)
    )
    return _ended(block, head)


def _ended(block: bytes, head: RequestHead) -> bytes:
    """`block` with what varies."""
    if head.hop_fields is not None:
        block += b"".join(map(_encoded_field, head.hop_fields))
    if head.expect_continue:
        block += _EXPECT
    if head.content_length is not None:
        block += _CONTENT_LENGTH + _value(b"%d" % head.content_length)
    if head.grpc_timeout is not None:
        block += _GRPC_TIMEOUT + _value(head.grpc_timeout)
    if head.trace_parent is not None:
        block += _TRACE_PARENT + _value(head.trace_parent)
    if head.request_id is not None:
        block += _REQUEST_ID + _value(head.request_id)
    return block


def response_block(head: ResponseHead) -> bytes:
    block = _encoded_status(head.status) + b"".join(map(_encoded_field, head.fields))
    if head.content_length is not None:
        block += _CONTENT_LENGTH + _value(b"%d" % head.content_length)
    return block


def trailers_block(fields: Fields) -> bytes:
    return b"".join(map(_encoded_field, fields))
