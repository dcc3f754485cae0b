"""What both readers of HTTP/1 know: its versions, and which fields they do not hand on as they are."""

from __future__ import annotations

import enum
import re

from remora.sidecar.wire.heads import FORWARDED, Fields

VERSIONS = ("1.1", "1.0")
"""Those that are spoken; the parser takes more."""

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

_HARMLESS = frozenset((b"", b",keep-alive", b",Keep-Alive", b",close", b",Close"))
"""What Connection nearly always is; it names no field."""

_PROTOCOL = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?")
"""RFC 9110 §7.8."""

_CLEARTEXT_HTTP2 = frozenset((b"h2c", b"h2"))


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
