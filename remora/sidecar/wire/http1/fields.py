"""Which HTTP/1 fields a codec does not hand on as they are, and how heads are written."""

from __future__ import annotations

import enum
import re

from remora.sidecar.wire.heads import Fields, RequestHead
from remora.sidecar.wire.problem import phrase

UNPARSED_BODY_BYTES = 64 * 1024
"""When more than this is left of a body of known length, it goes past the parser, which would copy it: measured on
1 MiB bodies, half of the processor time. The new parser that the next message then needs costs about 1 µs."""

MAX_LENGTH_DIGITS = 20
"""Of a Content-Length: 2⁶⁴ has as many."""


class Kind(enum.IntEnum):
    """What the codec does with a field."""

    DROP = 1
    """Belongs to the connection (RFC 9110 §7.6.1); TE too: each connection says its own."""
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


_DROPPED = dict.fromkeys((b"keep-alive", b"proxy-connection", b"te", b"http2-settings"), Kind.DROP)
_FRAMING = {
    b"content-length": Kind.CONTENT_LENGTH,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
}
REQUEST_KINDS: dict[bytes, Kind] = {
    **_DROPPED,
    **_FRAMING,
    b"host": Kind.HOST,
    b"content-type": Kind.CONTENT_TYPE,
    b"expect": Kind.EXPECT,
    b"traceparent": Kind.TRACE_PARENT,
    b"x-request-id": Kind.REQUEST_ID,
    b"grpc-timeout": Kind.GRPC_TIMEOUT,
}
RESPONSE_KINDS: dict[bytes, Kind] = {**_DROPPED, **_FRAMING}

CONNECTION_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))
"""Tokens of Connection that name no field to remove."""

SWITCH_LINES = b"connection: upgrade\r\nupgrade: %b\r\n\r\n"
"""The last fields of a head that asks for a switch to another protocol, or agrees to it."""

_HARMLESS = frozenset((b"", b",keep-alive", b",Keep-Alive", b",close", b",Close"))
"""What Connection nearly always is; it names no field."""

_PROTOCOL = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?")
"""RFC 9110 §7.8."""

_CLEARTEXT_HTTP2 = frozenset((b"h2c", b"h2"))

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, phrase(status).encode() or b"Unknown") for status in range(100, 1000)
}


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


def request_bytes(head: RequestHead, end: bool) -> bytes:
    """The head of `head` as an HTTP/1.1 request; without `end` and a length the body that follows is chunked."""
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, head.path, head.authority)]
    lines += [b"%b: %b\r\n" % field for field in head.fields]
    if head.content_type is not None:
        lines.append(b"content-type: %b\r\n" % head.content_type)
    if head.trace_parent is not None:
        lines.append(b"traceparent: %b\r\n" % head.trace_parent)
    if head.request_id is not None:
        lines.append(b"x-request-id: %b\r\n" % head.request_id)
    if head.grpc_timeout is not None:
        lines.append(b"grpc-timeout: %b\r\n" % head.grpc_timeout)
    if head.content_length is not None:
        lines.append(b"content-length: %d\r\n" % head.content_length)
    elif not end:
        lines.append(b"transfer-encoding: chunked\r\n")
    if head.expect_continue:
        lines.append(b"expect: 100-continue\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def tunnel_request_bytes(head: RequestHead) -> bytes:
    """The head of a request that asks for a tunnel: an Upgrade (RFC 9110 §7.8) or a CONNECT (RFC 9112 §3.2.3)."""
    written = request_bytes(head, True)
    if head.upgrade is None:
        return b"CONNECT %b HTTP/1.1%b" % (head.authority, written[written.index(b"\r\n") :])
    return written[:-2] + SWITCH_LINES % head.upgrade


def chunk_bytes(data: bytes, end: bool) -> bytes:
    """`data` as a chunk (RFC 9112 §7.1), with the last chunk behind it at the `end`."""
    if not data:
        return b"0\r\n\r\n" if end else b""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if end else b"%x\r\n%b\r\n" % (len(data), data)


def trailer_bytes(trailers: Fields) -> bytes:
    """The last chunk and the trailer section (RFC 9112 §7.1.2)."""
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % field for field in trailers]) + b"\r\n"
