"""What gRPC puts into bodies and trailers (gRPC's doc/PROTOCOL-HTTP2.md)."""

from __future__ import annotations

import struct
from typing import Final
from urllib.parse import quote

from remora.sidecar.wire.heads import Fields

PREFIX_BYTES: Final = 5
"""Before each message: a flag and its length (Length-Prefixed-Message)."""

length_of = struct.Struct(">xI").unpack_from
"""(length of a message,) of what begins with its prefix."""

_UNESCAPED = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""In a Status-Message."""


def frame(message: bytes, flag: int = 0) -> bytes:
    """`message` with its prefix; without a flag it is not compressed."""
    return b"%c%b%b" % (flag, len(message).to_bytes(4, "big"), message)


def status_fields(code: int, message: str) -> Fields:
    """A status as fields of trailers, or of a head that is all (Trailers-Only)."""
    fields: Fields = [(b"grpc-status", b"%d" % code)]
    if message:
        fields.append((b"grpc-message", quote(message, safe=_UNESCAPED).encode()))
    return fields
