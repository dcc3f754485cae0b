"""Base64 that comes in pieces, for `application/grpc-web-text` (gRPC's doc/PROTOCOL-WEB.md)."""

from __future__ import annotations

import binascii


class Base64Error(ValueError):
    """What came is not base64."""


class Base64Reader:
    """Decodes pieces that are cut anywhere. Padding may stand in the middle: peers encode message by message."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, end: bool) -> bytes:
        """The bytes that are whole now. Base64Error: bad characters, bad padding, or an end in the middle."""
        text = self._rest + data if self._rest else data
        whole = len(text) & ~3
        self._rest = text[whole:]
        if end and self._rest:
            raise Base64Error("the body ends in the middle of a base64 group")
        return _decode(text[:whole])


def _decode(text: bytes) -> bytes:
    padding = text.find(b"=")
    if padding < 0 or padding >= len(text) - 4:
        return _decode_padded(text)
    pieces = []
    start = 0
    while padding >= 0:
        after = (padding & ~3) + 4
        pieces.append(_decode_padded(text[start:after]))
        start = after
        padding = text.find(b"=", start)
    pieces.append(_decode_padded(text[start:]))
    return b"".join(pieces)


def _decode_padded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise Base64Error(f"the body is not base64: {error}") from None


def encode(data: bytes) -> bytes:
    """`data` as base64, padded: the reader has all of it at once."""
    return binascii.b2a_base64(data, newline=False)
