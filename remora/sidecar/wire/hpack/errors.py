"""What can be wrong with a header block. Either ends the connection: the two tables no longer agree."""

from __future__ import annotations


class HpackError(ValueError):
    """The block is not HPACK (RFC 7541 §2.3.3, §5): a connection error COMPRESSION_ERROR."""


class HpackBombError(HpackError):
    """The block is HPACK, but unfolds to so much that it can only be an attack."""
