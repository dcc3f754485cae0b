"""Keys as etcd has them: bytes, and a prefix as the range [key, range_end)."""

from __future__ import annotations


def encode_key(key: str) -> bytes:
    return key.encode()


def decode_key(key: bytes) -> str:
    """Someone may have put anything by hand; what is no UTF-8 becomes readable, and is then none of our keys."""
    return key.decode(errors="backslashreplace")


def range_end(prefix: str) -> bytes:
    """The first key after all that start with `prefix`; `\\0` means no end. UTF-8 has no byte 0xff to carry over."""
    key = encode_key(prefix)
    return key[:-1] + bytes((key[-1] + 1,)) if key else b"\0"
