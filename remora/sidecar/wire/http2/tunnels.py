"""Tunnels: what HTTP/1 calls Upgrade is an extended CONNECT here (RFC 8441), and 101 is 200.

To handlers a tunnel looks as on HTTP/1. WebSocket's key and accept exist there only (RFC 8441 §5.1): for a request that
came by HTTP/2 a key is made, and for an answer that came by it the accept that fits the key.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, ResetReason, ResponseHandler, ResponseStream

WEBSOCKET = b"websocket"
KEY_FIELD = b"sec-websocket-key"
ACCEPT_FIELD = b"sec-websocket-accept"
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_accept(key: bytes) -> bytes:
    """The accept that fits `key` (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())


def websocket_key() -> bytes:
    return base64.b64encode(os.urandom(16))


def without(fields: Fields, name: bytes) -> Fields:
    return [field for field in fields if field[0].lower() != name]


def request_to_handlers(head: RequestHead) -> None:
    """Make a request that came as an extended CONNECT look like an Upgrade. `head` is nobody else's yet."""
    head.method = b"GET"
    if head.upgrade is not None and head.upgrade.lower() == WEBSOCKET:
        head.fields = [*without(head.fields, KEY_FIELD), (KEY_FIELD, websocket_key())]


def answer_to_peer(head: ResponseHead) -> ResponseHead:
    """What the handlers' answer to an Upgrade is on the wire: 101 becomes 200, and what would be taken for it, 502."""
    if head.status == 101:
        return ResponseHead(200, without(head.fields, ACCEPT_FIELD))
    if 200 <= head.status < 300:
        # An upstream that ignored the Upgrade and just answered.
        return ResponseHead(502, head.fields, content_length=head.content_length)
    return head


class TunnelAnswer:
    """A ResponseHandler for the head of the answer to a request for a tunnel: brings it into the handlers' form."""

    __slots__ = ("_handler", "_key", "_switches")

    def __init__(self, head: RequestHead, handler: ResponseHandler) -> None:
        self._handler = handler
        self._switches = head.upgrade is not None
        websocket = head.upgrade is not None and head.upgrade.lower() == WEBSOCKET
        self._key = field_value(head.fields, KEY_FIELD) if websocket else None

    def on_head(self, head: ResponseHead, end: bool) -> None:
        if not 200 <= head.status < 300:
            self._handler.on_head(head, end)
            return
        fields = head.fields
        if self._key is not None:
            fields = [*without(fields, ACCEPT_FIELD), (ACCEPT_FIELD, websocket_accept(self._key))]
        # Its content-length means nothing (RFC 9110 §9.3.6).
        self._handler.on_head(ResponseHead(101 if self._switches else head.status, fields), False)
        if end:
            self._handler.on_data(b"", True)

    def on_data(self, data: bytes, end: bool) -> None:
        self._handler.on_data(data, end)

    def on_trailers(self, trailers: Fields) -> None:
        self._handler.on_trailers(trailers)

    def on_reset(self, reason: ResetReason) -> None:
        self._handler.on_reset(reason)

    def on_writable(self, writable: bool) -> None:
        self._handler.on_writable(writable)


class TunnelRequest:
    """A ResponseStream whose request waits until the peer has said whether it takes extended CONNECT (RFC 8441 §3)."""

    __slots__ = ("_handler", "_head", "_kept", "_kept_bytes", "_open", "_over", "_paused", "_stream")

    def __init__(
        self,
        head: RequestHead,
        handler: ResponseHandler,
        open_stream: Callable[[RequestHead, ResponseHandler], ResponseStream | None],
    ) -> None:
        """`open_stream` gives None where the peer has no room for a stream."""
        self._head = head
        self._handler = handler
        self._open = open_stream
        self._stream: ResponseStream | None = None
        self._kept: list[tuple[bytes, bool]] = []
        self._kept_bytes = 0
        self._paused = False
        self._over = False

    def send_data(self, data: bytes, end: bool) -> None:
        if self._stream is not None:
            self._stream.send_data(data, end)
        elif not self._over:
            self._kept.append((data, end))
            was_full = self._kept_bytes > WRITE_HIGH_WATER
            self._kept_bytes += len(data)
            if self._kept_bytes > WRITE_HIGH_WATER and not was_full:
                self._handler.on_writable(False)

    def send_trailers(self, trailers: Fields) -> None:  # noqa: ARG002
        """A tunnel has none (RFC 9113 §8.5): just the end."""
        self.send_data(b"", True)

    def reset(self, reason: ResetReason) -> None:
        self._over = True
        self._kept.clear()
        if self._stream is not None:
            self._stream.reset(reason)

    def pause(self) -> None:
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        self._paused = False
        if self._stream is not None:
            self._stream.resume()

    def decide(self, allowed: bool) -> None:
        """The peer takes extended CONNECT, or does not."""
        if self._over:
            return
        if not allowed:
            self._refuse()
            return
        self._stream = stream = self._open(self._head, self._handler)
        if stream is None:
            self.fail(ResetReason.REFUSED)
            return
        if self._paused:
            stream.pause()
        was_full = self._kept_bytes > WRITE_HIGH_WATER
        kept, self._kept = self._kept, []
        if was_full:
            self._handler.on_writable(True)
        for data, end in kept:
            stream.send_data(data, end)

    def fail(self, reason: ResetReason) -> None:
        """It will never be sent."""
        if not self._over and self._stream is None:
            self._over = True
            self._handler.on_reset(reason)

    def _refuse(self) -> None:
        self._over = True
        protocol = (self._head.upgrade or b"").decode("latin-1")
        head, body = problem(501, "upgrade", f"the upstream's HTTP/2 takes no {protocol} (RFC 8441)")
        self._handler.on_head(head, False)
        self._handler.on_data(body, True)
