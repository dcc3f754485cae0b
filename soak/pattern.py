"""Bodies that both ends can make, so that every byte is checked."""

from __future__ import annotations

import hashlib

_BLOCK = hashlib.shake_128(b"soak").digest(6 * 1024 * 1024)
MAX_BYTES = 4 * 1024 * 1024


def pattern(seed: int, size: int) -> bytes:
    """`size` bytes (at most MAX_BYTES) that belong to `seed`."""
    start = seed * 7919 % (len(_BLOCK) - MAX_BYTES)
    return _BLOCK[start : start + size]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
