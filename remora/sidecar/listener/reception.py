"""A new connection until it is known what it speaks; then the codec of that takes it over.

          declared tcp ──────────────────────────────────────────► opaque
accepted ─ first bytes ─ detect ─ HTTP/1, HTTP/2 ────────────────► codec
          │                     └ TLS, anything else ────────────► opaque
          └ silence ┬ on trial ─ the server speaks first ────────► opaque, learnt
                    │          └ first bytes ─ detect ─ …
                    └ HTTP is spoken here ─ first bytes ─ detect ─ …
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from remora.sidecar.listener.client_hello import may_be_tls
from remora.sidecar.listener.detection import HTTP1, HTTP2, TCP, Detected, detect, guess, is_http_answer
from remora.sidecar.listener.opaque import SILENCE_S
from remora.sidecar.telemetry.tcp import DetectedBy
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.http2 import PREFACE, Http2ServerConnection
from remora.sidecar.wire.tcp import TcpServerConnection

if TYPE_CHECKING:
    from remora.sidecar.listener.listener import Listener
    from remora.sidecar.listener.opaque import Opaque

HELLO_TIMEOUT_S = 10.0
"""How long a connection that has begun to say something may take to say what it is."""

TLS_PORT = 443


class NewConnection(asyncio.Protocol):
    """The transport's protocol until another takes over."""

    __slots__ = ("_counted", "_listener", "_opaque", "_patient", "_seen", "_timer", "_transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._counted = False
        """What it speaks has to be found out."""
        self._opaque = listener.opaque
        """None: this one is HTTP, of whichever version."""
        self._patient = False
        """Silent, and left so for as long as HTTP may be."""
        self._transport: asyncio.Transport | None = None
        self._seen = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._listener.meet(self)
        opaque = self._opaque
        expected = "http" if opaque is None else opaque.expects()
        if opaque is not None and expected == "tcp":
            self._tunnel(opaque, TCP, "declared")
            return
        self._counted = expected == "auto"
        if opaque is None or expected == "http":
            self._opaque = None
            self._wait(self._listener.limits.idle_timeout_s)
        else:
            self._wait(self._listener.limits.idle_timeout_s if opaque.by_name else opaque.silence_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._leave()

    def eof_received(self) -> bool:
        opaque = self._opaque
        if opaque is None or opaque.by_name or not self._seen:
            return False
        # Who says only this wants to hear something all the same.
        transport = self._transport
        self._decide(guess(self._seen))
        if transport is not None:
            protocol = transport.get_protocol()
            assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol), "one of our codecs"
            return bool(protocol.eof_received())
        return False

    def data_received(self, data: bytes) -> None:
        is_first = not self._seen
        seen = self._seen = self._seen + data
        opaque = self._opaque
        if opaque is None or (opaque.by_name and not may_be_tls(seen)):
            if len(seen) >= len(PREFACE) or not PREFACE.startswith(seen):
                self._serve(HTTP2 if seen.startswith(PREFACE) else HTTP1)
            elif is_first:
                self._wait(HELLO_TIMEOUT_S)
            return
        found = detect(seen)
        if found is not None:
            self._decide(found)
        elif is_first:
            self._wait(HELLO_TIMEOUT_S if opaque.by_name else SILENCE_S)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def on_server_first(self) -> None:
        """It has been learnt that servers speak first here."""
        opaque = self._opaque
        if opaque is not None and not opaque.by_name and not self._seen:
            self._try_out(opaque)

    def expect_http(self, transport: asyncio.Transport, seen: bytes) -> None:
        """Begin anew: it is HTTP for sure, and `seen` is what has come of it."""
        self._opaque = None
        self._counted = True
        self._transport = transport
        transport.set_protocol(self)
        self._listener.meet(self)
        if seen:
            self.data_received(seen)
        else:
            self._wait(self._listener.limits.idle_timeout_s)

    # ── time ──

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        opaque, seen = self._opaque, self._seen
        if self._transport is None:
            return
        if not seen:
            if opaque is None or opaque.by_name or self._patient:
                self._transport.close()
            elif opaque.takes_on_trial:
                self._try_out(opaque)
            else:
                self._patient = True
                self._wait(self._listener.limits.idle_timeout_s)
        elif opaque is None:
            # The beginning of a preface, and no more: refused as the request that it is not.
            self._serve(HTTP1)
        elif PREFACE.startswith(seen):
            # HTTP/2 in small pieces.
            self._opaque = None
            self._wait(HELLO_TIMEOUT_S)
        else:
            self._decide(guess(seen))

    # ── handing over ──

    def _leave(self) -> asyncio.Transport | None:
        transport, self._transport = self._transport, None
        if self._timer is not None:
            self._timer.cancel()
        self._listener.part(self)
        return transport

    def _decide(self, found: Detected) -> None:
        opaque = self._opaque
        if opaque is None or found.protocol in ("http1", "h2"):
            self._serve(found)
        else:
            self._tunnel(opaque, found, "first bytes")

    def _serve(self, found: Detected) -> None:
        transport, listener = self._leave(), self._listener
        if transport is None:
            return
        if self._counted:
            listener.metrics.count_detected(listener.name, found.protocol, "first bytes")
            if listener.opaque is not None:
                listener.opaque.http_seen = True
        rule = listener.forwarding
        connection: Http1ServerConnection | Http2ServerConnection
        if found is HTTP2:
            connection = Http2ServerConnection(
                rule.factory(listener.http2, transport, "2"),
                limits=listener.http2_limits,
                on_closed=listener.remove,
                on_refused=listener.count_refused,
                watch=listener.watch,
            )
        else:
            connection = Http1ServerConnection(
                rule.factory(listener.http1, transport, "1.1"),
                listener.remove,
                listener.limits,
                listener.watch,
                listener.count_refused,
            )
        transport.set_protocol(connection)
        connection.connection_made(transport)
        listener.add(connection)
        connection.data_received(self._seen)
        listener.settle(connection)

    def _tunnel(self, opaque: Opaque, found: Detected, by: DetectedBy) -> None:
        transport, listener = self._leave(), self._listener
        if transport is None:
            return
        note_tunnel(listener, found, by)
        connection = TcpServerConnection(opaque.factory, listener.remove)
        listener.add(connection)
        connection.start(transport, self._seen, authority(opaque, found), is_tls=found.protocol == "tls")

    def _try_out(self, opaque: Opaque) -> None:
        transport, listener = self._leave(), self._listener
        if transport is None:
            return
        connection = OnTrial(listener, opaque)
        listener.add(connection)
        connection.start(transport, b"", b"")


class OnTrial(TcpServerConnection):
    """Opaque so far, because nothing was said. Who speaks first settles what it is."""

    __slots__ = ("_listener", "_opaque", "_seen", "_settled", "_timer")

    def __init__(self, listener: Listener, opaque: Opaque) -> None:
        super().__init__(opaque.factory, listener.remove)
        self._listener = listener
        self._opaque = opaque
        self._seen = b""
        self._settled = False
        opaque.on_trial += 1
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._settled:
            super().data_received(data)
            return
        seen = self._seen = self._seen + data
        found = detect(seen)
        if found is not None:
            self._settle(found)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._opaque.silence_s, self._on_timer)

    def _on_timer(self) -> None:
        if not self._settled and self._transport is not None:
            self._settle(guess(self._seen))

    def eof_received(self) -> bool:
        if not self._settled:
            self._settle(guess(self._seen))
        transport = self._transport
        return super().eof_received() if transport is not None else False

    def drain(self) -> None:
        """As long as nobody has said anything, nothing is lost by closing."""
        if not self._settled and not self._seen and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_trial()
        super().connection_lost(exc)

    def send_data(self, data: bytes, end: bool) -> None:
        """What the server says."""
        if not self._settled and data:
            if is_http_answer(data):
                self._begin_anew()
                return
            self._end_trial()
            note_tunnel(self._listener, TCP, "server first")
            if not self._opaque.server_first:
                self._opaque.server_first = True
                self._listener.on_server_first()
            if self._seen:
                super().data_received(self._seen)
        super().send_data(data, end)

    def _settle(self, found: Detected) -> None:
        """The client has spoken first, `found`."""
        if found.protocol in ("http1", "h2"):
            self._begin_anew()
            return
        self._end_trial()
        note_tunnel(self._listener, found, "first bytes")
        if self._seen:
            super().data_received(self._seen)

    def _begin_anew(self) -> None:
        """It is HTTP after all, which begins when the client does."""
        transport = self._transport
        self._end_trial()
        if transport is None:
            return
        self.let_go()
        self._listener.remove(self)
        NewConnection(self._listener).expect_http(transport, self._seen)

    def _end_trial(self) -> None:
        if not self._settled:
            self._settled = True
            self._opaque.on_trial -= 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def authority(opaque: Opaque, found: Detected) -> bytes:
    """Whom a tunnel is for: what TLS names, with a port where nothing but the name says where it goes."""
    name = found.server_name
    return f"{name}:{TLS_PORT}".encode() if opaque.by_name and name else name.encode()


def note_tunnel(listener: Listener, found: Detected, by: DetectedBy) -> None:
    """Count a connection that is opaque from now on."""
    listener.metrics.count_detected(listener.name, found.protocol, by)
    if found.server_name:
        listener.metrics.count_server_name(listener.name, found.server_name)
