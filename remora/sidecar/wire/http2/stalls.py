"""Requests whose body has stopped coming, while nobody has begun to answer them: as HTTP/1's body timeout.

Calls of gRPC are let alone: their silence means nothing, and the exchange bounds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remora.sidecar.wire.http2.server import ServerStream


class StalledBodies:
    """Compares a connection's streams with what they were at the last look."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int, int]] = {}
        """By stream: how far its body had come (two figures that both stand still), and for how many looks."""

    def look(self, streams: Iterable[ServerStream], limit: float) -> list[ServerStream]:
        """Those that have stood still for `limit` looks."""
        seen, stalled = {}, []
        for stream in streams:
            if not stream.waits_for_body:
                continue
            unacked, left, looks = self._seen.get(stream.stream_id, (-1, -1, 0))
            looks = looks + 1 if (unacked, left) == (stream.unacked, stream.left) else 0
            if looks >= limit:
                stalled.append(stream)
            else:
                seen[stream.stream_id] = (stream.unacked, stream.left, looks)
        self._seen = seen
        return stalled
