"""The one interface between codecs and exchanges.

A codec turns bytes into streams and back; an exchange joins a downstream stream to attempts upstream. HTTP/1 and HTTP/2
speak the same interface, so either can stand on either side. Everything is a direct call on the event loop: no task, no
future, no queue.

    codec ── on_head, on_data, on_trailers, on_reset, on_writable ──► StreamHandler (exchange)
    codec ◄── send_head, send_data, send_trailers, reset, pause, resume ── Stream

Rules that every codec keeps:

* `end=True` on a head or on data, or trailers, end that direction; nothing follows it.
* After `on_reset`, or after both directions have ended, the stream is dead: no more calls come, and what is sent to it
  is dropped in silence. `reset()` by the handler's own side is not echoed by `on_reset`.
* A handler may call anything on the stream from inside a callback, `reset()` included.
* `send_data` never refuses: it queues. The codec says `on_writable(False)` when more than WRITE_HIGH_WATER bytes wait
  for a slow peer, and `on_writable(True)` when few do; the handler then pauses and resumes the other side. `pause()`
  holds back `on_data` as far as the protocol can (transport.pause_reading; a closed flow-control window), what was
  already received is still delivered, bounded by one read or one window.
* A request with `upgrade`, or with method CONNECT, asks for a tunnel; its head comes with `end=False`. A final head of
  status 101 (to `upgrade`) or 2xx (to CONNECT), `end=False`, opens it: from then on `on_data` and `send_data` carry raw
  bytes both ways. `end` half-closes its direction (write_eof, END_STREAM); the stream is over when both have ended, or
  by a reset. Codecs translate: extended CONNECT's 200 is 101 to handlers (RFC 8441 §5). With any other final answer
  there is no tunnel, and the request counts as ended without a body.
* Heads are read-only to handlers but for the slots named in `heads.py`; codecs may share their field lists.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead

WRITE_HIGH_WATER = 64 * 1024
"""Bytes waiting for a slow peer above which the other side's reading pauses."""
WRITE_LOW_WATER = 16 * 1024

SOCKET_HIGH_WATER = 4 * 1024
"""The same for a connection that carries one stream: unsent bytes in its transport. One read of the other side comes
on top, see wire/reads.py: together less than 256 KiB for a slow reader."""


class ResetReason(enum.Enum):
    """Why a stream ended before its time; what the exchange decides retries, flags and statuses by."""

    REFUSED = "refused"
    """Provably not processed: REFUSED_STREAM, or the connection never took it."""
    STALE = "stale connection"
    """Provably not processed, because its connection closed in the moment of its use: it had been idle, or a GOAWAY
    leaves the stream out, or it never got onto the wire."""
    CLOSING = "closing connection"
    """The connection had been idle, and was reset as it was used again, before any byte of the answer. That is what
    happens when the peer closes idle connections, but nothing proves that the request was not processed."""
    PEER_RESET = "peer reset"
    """RST_STREAM, or the connection ended in the middle of the message."""
    PROTOCOL_ERROR = "protocol error"
    """The peer broke the protocol; the connection is closed or closing."""
    CANCELLED = "cancelled"
    """The side that asked is gone or no longer wants it (h2 CANCEL)."""
    OVERLOADED = "overloaded"
    """h2 ENHANCE_YOUR_CALM."""
    BAD_ANSWER = "bad answer"
    """What came from upstream cannot be passed on: said by what translates answers, before an exchange."""
    INTERNAL = "internal"
    """Our own fault."""


class RequestStream(Protocol):
    """The server side of a stream: what an exchange can do to the downstream that asked."""

    def send_head(self, head: ResponseHead, end: bool) -> None:
        """Send a response head. 1xx heads (never `end`) may come before the final one."""

    def send_data(self, data: bytes, end: bool) -> None: ...

    def send_trailers(self, trailers: Fields) -> None:
        """End the response with trailers; dropped where the peer cannot take them (HTTP/1.0, content-length)."""

    def reset(self, reason: ResetReason) -> None:
        """Give the stream up: RST_STREAM, or close of an HTTP/1 connection."""

    def pause(self) -> None:
        """Stop `on_data`: the upstream is slow. Idempotent."""

    def resume(self) -> None: ...


class RequestHandler(Protocol):
    """The exchange, as the server codec sees it. Made by the RequestHandlerFactory that gets the head."""

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: ResetReason) -> None:
        """The downstream gave up or is gone, or broke the protocol (the codec has answered that itself)."""

    def on_writable(self, writable: bool) -> None: ...


RequestHandlerFactory = Callable[[RequestStream, RequestHead, bool], RequestHandler]
"""(stream, head, end) → handler. May send on the stream, even a whole response, before it returns."""


class ResponseStream(Protocol):
    """The client side of a stream: what an attempt can do to the upstream that it asks. Made by
    `ClientConnection.open`, which has sent the head."""

    def send_data(self, data: bytes, end: bool) -> None: ...

    def send_trailers(self, trailers: Fields) -> None: ...

    def reset(self, reason: ResetReason) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class ResponseHandler(Protocol):
    """An attempt, as the client codec sees it."""

    def on_head(self, head: ResponseHead, end: bool) -> None:
        """A response head; 1xx heads (never `end`) may come before the final one."""

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: ResetReason) -> None: ...

    def on_writable(self, writable: bool) -> None: ...


class ConnectionOwner(Protocol):
    """The pool, as its client connections see it."""

    def on_connection_free(self, connection: ClientConnection) -> None:
        """A slot for one more stream came free: an HTTP/1 connection is idle; an HTTP/2 one is below its limit."""

    def on_max_streams(self, streams: int) -> None:
        """The endpoint says how many streams it takes at once on a new connection, or that it takes fewer now on an
        open one: HTTP/2's SETTINGS."""

    def on_connection_closed(self, connection: ClientConnection) -> None:
        """No new stream can be opened: closed, closing, or GOAWAY. Said once. Live streams may still finish."""

    def on_keep_alive(self, value: bytes) -> None:
        """The endpoint says how long it keeps connections: HTTP/1's Keep-Alive, as it came."""


class ClientConnection(Protocol):
    """A connection to one endpoint, of either protocol."""

    def open(self, head: RequestHead, end: bool, handler: ResponseHandler) -> ResponseStream:
        """Start a stream and send its head. Only when `free_slots` > 0. Never calls the handler before it returns."""

    @property
    def free_slots(self) -> int:
        """How many more streams it takes now."""

    @property
    def live_streams(self) -> int: ...

    def drain(self) -> None:
        """Take no new stream; close when the live ones have ended."""

    def abort(self) -> None:
        """Close at once; live streams are reset."""


class ServerConnection(Protocol):
    """A downstream's connection, of either protocol."""

    @property
    def live_streams(self) -> int: ...

    def drain(self) -> None:
        """Tell the peer to go elsewhere (`Connection: close`, two-phase GOAWAY), finish live streams, then close."""

    def abort(self) -> None:
        """Close at once; live streams are reset."""
