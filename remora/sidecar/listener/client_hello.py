"""TLS as its first message shows it (RFC 8446 §4.1.2): that it is TLS, and which server is meant (RFC 6066 §3)."""

from __future__ import annotations

import re

MAX_HELLO_BYTES = 16 * 1024
"""Longest ClientHello that is waited for: real ones have 0.2 to 2 KiB, those with post-quantum key shares included."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _HOST_NAME = 0, 0
_MAX_RECORD_BYTES = 1 << 14

_HOST = re.compile(r"[a-z0-9_]([-a-z0-9_.]{0,251}[a-z0-9_])?")


def may_be_tls(seen: bytes) -> bool:
    """Whether a connection that begins with `seen` can be TLS: a handshake record of version 3.x with a ClientHello."""
    if seen[:1] != b"\x16" or seen[1:2] not in (b"", b"\x03"):
        return False
    # Before the octet behind it, or what is said of all at once would be said otherwise of its pieces.
    if len(seen) >= 5 and not 0 < int.from_bytes(seen[3:5], "big") <= _MAX_RECORD_BYTES:
        return False
    return seen[5:6] in (b"", b"\x01")


def server_name(seen: bytes) -> str | None:
    """The server name in the ClientHello that `seen` begins with; empty when it names none, or is none.

    None: more of it has to come.
    """
    try:
        hello = _handshake(seen)
        return None if hello is None else _named(_Reader(hello))
    except _MalformedError:
        return ""


class _MalformedError(Exception):
    """A length that does not fit, or what is no ClientHello."""


class _Reader:
    """Takes bytes from the front, never past the end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _MalformedError
        self._at += size
        return taken

    def rest(self) -> bytes:
        return self._data[self._at :]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size_bytes: int) -> _Reader:
        """What stands behind a length of `size_bytes`."""
        return _Reader(self.take(self.number(size_bytes)))


def _handshake(seen: bytes) -> bytes | None:
    """The first handshake message, put together from its records; None while it is not whole."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if len(message) >= 4 and int.from_bytes(message[1:4], "big") > MAX_HELLO_BYTES:
            raise _MalformedError
        record = seen[at : at + 5]
        if record and not may_be_tls(record):
            raise _MalformedError
        length = int.from_bytes(record[3:5], "big")
        if len(record) < 5 or len(seen) < at + 5 + length:
            if len(seen) > MAX_HELLO_BYTES:
                raise _MalformedError
            return None
        message += seen[at + 5 : at + 5 + length]
        at += 5 + length
    if message[0] != _CLIENT_HELLO:
        raise _MalformedError
    return message[4 : 4 + int.from_bytes(message[1:4], "big")]


def _named(hello: _Reader) -> str:
    hello.take(2 + 32)  # legacy_version, random
    for size_bytes in (1, 2, 1):  # legacy_session_id, cipher_suites, legacy_compression_methods
        hello.vector(size_bytes)
    if hello.is_empty:
        return ""
    extensions = hello.vector(2)
    while not extensions.is_empty:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(body.vector(2))
    return ""


def _host_name(names: _Reader) -> str:
    while not names.is_empty:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            host = name.rest().decode("latin-1").lower()
            return host if _HOST.fullmatch(host) else ""
    return ""
