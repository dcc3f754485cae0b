"""gRPC's messages and streams by method, counted as they pass."""

from __future__ import annotations

MAX_GRPC_SERIES = 1_000
"""Methods that are kept apart; callers choose the path, so what comes after is counted as `other`."""

PREFIX_BYTES = 5
"""Before each message: a flag and its length (gRPC's doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""


class GrpcSeries:
    """The slots of one method of one service."""

    __slots__ = ("request_messages", "response_messages", "streams")

    def __init__(self) -> None:
        self.streams = 0
        """Calls begun."""
        self.request_messages = 0
        self.response_messages = 0


class MessageScanner:
    """Finds messages in a body that comes in pieces, by their prefixes alone: no byte is copied but a cut prefix."""

    __slots__ = ("_left", "_prefix")

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the current message still to come."""
        self._prefix = b""
        """The beginning of a prefix that was cut."""

    def feed(self, data: bytes) -> int:
        """How many messages begin in `data`: their prefix is whole with it."""
        size = len(data)
        if not self._left and not self._prefix and size >= PREFIX_BYTES:
            length = int.from_bytes(data[1:5], "big")
            if length == size - PREFIX_BYTES:
                return 1
        return self._scan(data, size)

    def _scan(self, data: bytes, size: int) -> int:
        found = 0
        at = self._left
        if self._prefix:
            at = PREFIX_BYTES - len(self._prefix)
            self._prefix += data[:at]
            if len(self._prefix) < PREFIX_BYTES:
                return 0
            at += int.from_bytes(self._prefix[1:5], "big")
            self._prefix = b""
            found = 1
        while at <= size - PREFIX_BYTES:
            at += PREFIX_BYTES + int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
            found += 1
        if at < size:
            self._prefix = data[at:]
            self._left = 0
        else:
            self._left = at - size
        return found
