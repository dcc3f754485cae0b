"""gRPC's messages and streams by method, counted as they pass."""

from __future__ import annotations

from remora.sidecar.wire.grpc import PREFIX_BYTES, length_of

MAX_GRPC_SERIES = 1_000
"""Methods that are kept apart; callers choose the path, so what comes after is counted as `other`."""


class GrpcSeries:
    """The slots of one method of one service."""

    __slots__ = ("request_messages", "response_messages", "streams")

    def __init__(self) -> None:
        self.streams = 0
        """Calls begun."""
        self.request_messages = 0
        self.response_messages = 0


class CallCounter:
    """Counts one call's messages, as they pass, in the series of its method."""

    __slots__ = ("_request", "_response", "_series")

    def __init__(self, series: GrpcSeries) -> None:
        # Nearly all messages of unary calls come in one piece, and need no scanner.
        self._request: MessageScanner | None = None
        self._response: MessageScanner | None = None
        self._series = series
        series.streams += 1

    def on_request(self, data: bytes) -> None:
        scanner = self._request
        if scanner is None:
            size = len(data)
            if size >= PREFIX_BYTES and length_of(data)[0] == size - PREFIX_BYTES:
                self._series.request_messages += 1
                return
            scanner = self._request = MessageScanner()
        self._series.request_messages += scanner.feed(data)

    def on_response(self, data: bytes) -> None:
        scanner = self._response
        if scanner is None:
            size = len(data)
            if size >= PREFIX_BYTES and length_of(data)[0] == size - PREFIX_BYTES:
                self._series.response_messages += 1
                return
            scanner = self._response = MessageScanner()
        self._series.response_messages += scanner.feed(data)


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
        found = 0
        at = self._left
        if self._prefix:
            at = PREFIX_BYTES - len(self._prefix)
            self._prefix += data[:at]
            if len(self._prefix) < PREFIX_BYTES:
                return 0
            at += length_of(self._prefix)[0]
            self._prefix = b""
            found = 1
        while at <= size - PREFIX_BYTES:
            at += PREFIX_BYTES + length_of(data, at)[0]
            found += 1
        if at < size:
            self._prefix = data[at:]
            self._left = 0
        else:
            self._left = at - size
        return found
