"""A request's body as far as it is kept for another attempt. Only requests that have a body pay for it."""

from __future__ import annotations

from remora.sidecar.wire.heads import Fields

REPLAY_BYTES = 64 * 1024
"""Longest request body that is kept for another attempt; a longer one is streamed and not retried."""

SMALL_BYTES = 2048
"""Pieces that are kept together are up to this large."""


class Replay:
    """What has come of the body: some data, or trailers, or both."""

    __slots__ = ("pieces", "size", "trailers")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.trailers: Fields | None = None
        self.size = 0
        """Of the data. Over REPLAY_BYTES the downstream is paused until an attempt takes it."""

    def keep(self, data: bytes) -> None:
        pieces = self.pieces
        size = len(data)
        self.size += size
        if pieces and size + len(pieces[-1]) < SMALL_BYTES:
            # Kept in pieces of a byte or two it would weigh many times its size.
            pieces[-1] += data
        elif size:
            pieces.append(data)
