"""Which HTTP/1 fields a codec does not hand on as they are, and how heads are written."""

from __future__ import annotations

import enum
import re

from remora.sidecar.wire.heads import FORWARDED, Fields, RequestHead
from remora.sidecar.wire.problem import phrase

UNPARSED_BODY_BYTES = 64 * 1024
"""When more than this is left of a body of known length, it goes past the parser, which would copy it: measured on
1 MiB bodies, half of the processor time. The new parser that the next message then needs costs about 1 µs."""

MAX_LENGTH_DIGITS = 20
"""Of a Content-Length: 2⁶⁴ has as many."""

MAX_REMEMBERED_NAMES = 1024
MAX_REMEMBERED_NAME_BYTES = 64


class Kind(enum.IntEnum):
    """What the codec does with a field."""

    DROP = 1
    """Belongs to the connection (RFC 9110 §7.6.1)."""
    HOST = 2
    CONTENT_LENGTH = 3
    CONTENT_TYPE = 4
    CONNECTION = 5
    TRANSFER_ENCODING = 6
    EXPECT = 7
    TRACE_PARENT = 8
    REQUEST_ID = 9
    GRPC_TIMEOUT = 10
    UPGRADE = 11
    TE = 12
    FORWARDED = 13
    KEEP_ALIVE = 14


_DROPPED = dict.fromkeys((b"keep-alive", b"proxy-connection", b"http2-settings"), Kind.DROP)
_FRAMING = {
    b"content-length": Kind.CONTENT_LENGTH,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"te": Kind.TE,
}


class KindMemo(dict[bytes, Kind | None]):
    """The kind of a field by its name in any spelling; None: handed on as it is. The memo of a pure function."""

    __slots__ = ("_by_lower_name",)

    def __init__(self, by_lower_name: dict[bytes, Kind]) -> None:
        super().__init__()
        self._by_lower_name = by_lower_name

    def __missing__(self, name: bytes) -> Kind | None:
        kind = self._by_lower_name.get(name.lower())
        if len(name) <= MAX_REMEMBERED_NAME_BYTES:
            if len(self) >= MAX_REMEMBERED_NAMES:
                self.clear()
            self[name] = kind
        return kind


REQUEST_KINDS = KindMemo(
    {
        **_DROPPED,
        **_FRAMING,
        b"host": Kind.HOST,
        b"content-type": Kind.CONTENT_TYPE,
        b"expect": Kind.EXPECT,
        b"traceparent": Kind.TRACE_PARENT,
        b"x-request-id": Kind.REQUEST_ID,
        b"grpc-timeout": Kind.GRPC_TIMEOUT,
        **dict.fromkeys(FORWARDED, Kind.FORWARDED),
    }
)
RESPONSE_KINDS = KindMemo({**_DROPPED, **_FRAMING, b"keep-alive": Kind.KEEP_ALIVE})

CONNECTION_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))
"""Tokens of Connection that name no field to remove."""

SWITCH_LINES = b"Connection: upgrade\r\nUpgrade: %b"
"""The last fields of a head that asks for a switch to another protocol, or agrees to it."""

_HARMLESS = frozenset((b"", b",keep-alive", b",Keep-Alive", b",close", b",Close"))
"""What Connection nearly always is; it names no field."""

_PROTOCOL = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?")
"""RFC 9110 §7.8."""

_CLEARTEXT_HTTP2 = frozenset((b"h2c", b"h2"))

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b" % (status, phrase(status).encode() or b"Unknown") for status in range(100, 1000)
}

field_line = b": ".join
"""A field's name and value as its line, without CRLF. Measured with `join_lines`: half the time of formatting."""
join_lines = b"\r\n".join
HEAD_END = b"\r\n"
"""The last of the lines of a head that are joined."""


def without_nominated(fields: Fields, connection: bytes) -> Fields:
    """`fields` without those that Connection fields name (RFC 9110 §7.6.1); `connection` is their values, each after
    a comma."""
    if connection in _HARMLESS:
        return fields
    names = {token.strip().lower() for token in connection.split(b",")} - CONNECTION_OPTIONS
    if not names:
        return fields
    return [field for field in fields if field[0].lower() not in names]


def upgrade_token(value: bytes) -> bytes | None:
    """The protocol of an Upgrade field to pass on: the first that is not HTTP/2, which each hop speaks by itself."""
    for token in value.split(b","):
        name = token.strip()
        if _PROTOCOL.fullmatch(name) and name.lower() not in _CLEARTEXT_HTTP2:
            return name
    return None


def request_bytes(head: RequestHead, end: bool, target: bytes | None = None) -> bytes:
    """The head of `head` as an HTTP/1.1 request; without `end` and a length the body that follows is chunked.

    Fields that were lifted come after the others, in the case that HTTP/1 peers are used to. `target`: if it is not the
    path.
    """
    start = b"%b %b HTTP/1.1\r\nHost: %b" % (head.method, head.path if target is None else target, head.authority)
    lines = [start, *map(field_line, head.fields)]
    if head.hop_fields is not None:
        lines += map(field_line, head.hop_fields)
    if head.content_type is not None:
        lines.append(b"Content-Type: " + head.content_type)
    if head.trace_parent is not None:
        lines.append(b"traceparent: " + head.trace_parent)
    if head.request_id is not None:
        lines.append(b"X-Request-Id: " + head.request_id)
    if head.grpc_timeout is not None:
        lines.append(b"grpc-timeout: " + head.grpc_timeout)
    if head.content_length is not None:
        lines.append(b"Content-Length: %d" % head.content_length)
    elif not end:
        lines.append(b"Transfer-Encoding: chunked")
    if head.expect_continue:
        lines.append(b"Expect: 100-continue")
    if head.upgrade is not None:
        lines.append(SWITCH_LINES % head.upgrade)
    lines.append(HEAD_END)
    return join_lines(lines)


def tunnel_request_bytes(head: RequestHead) -> bytes:
    """The head of a request that asks for a tunnel: an Upgrade (RFC 9110 §7.8) or a CONNECT (RFC 9112 §3.2.3)."""
    target = head.path if head.upgrade is not None else head.authority
    return request_bytes(head, True, target)


def chunk_bytes(data: bytes, end: bool) -> bytes:
    """`data` as a chunk (RFC 9112 §7.1), with the last chunk behind it at the `end`."""
    if not data:
        return b"0\r\n\r\n" if end else b""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if end else b"%x\r\n%b\r\n" % (len(data), data)


def trailer_bytes(trailers: Fields) -> bytes:
    """The last chunk and the trailer section (RFC 9112 §7.1.2)."""
    return join_lines([b"0", *map(field_line, trailers), HEAD_END])
