"""gRPC's and gRPC-Web's bodies, written and read without the code that is tested."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def framed(message: bytes) -> bytes:
    """A Length-Prefixed-Message, not compressed."""
    return struct.pack(">BI", 0, len(message)) + message


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(flag, what it is before) of each; all must be whole."""
    while body:
        flag, length = struct.unpack_from(">BI", body)
        assert len(body) >= 5 + length, "cut"
        yield flag, body[5 : 5 + length]
        body = body[5 + length :]
