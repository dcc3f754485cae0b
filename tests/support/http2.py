"""Playing h2 (python-hyper) against our HTTP/2 without sockets: bytes go to and fro until both sides are silent."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.settings import SettingCodes

from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http2 import DEFAULT_LIMITS, Http2ClientConnection, Http2Limits, Http2ServerConnection
from remora.sidecar.wire.watch import Watch
from tests.support.wire import FakeTransport, Heard, Owner, Requests

EventT = TypeVar("EventT", bound=Event)
REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"greeter:80")]


class BufferedTransport(FakeTransport):
    """Says how much waits for the peer."""

    unsent = 0

    def write_eof(self) -> None:
        """As HTTP/2 closes a connection."""
        super().write_eof()
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class _Play:
    """One connection of ours, and h2 as its peer."""

    connection: Http2ServerConnection | Http2ClientConnection

    def __init__(self, *, client_side: bool, validate: bool, settings: dict[SettingCodes | int, int] | None) -> None:
        config = H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_outbound_headers=validate,
            normalize_outbound_headers=validate,
        )
        self.peer = H2Connection(config)
        self.transport = BufferedTransport()
        self.events: list[Any] = []
        self.peer.initiate_connection()
        if settings:
            self.peer.update_settings(settings)

    async def talk(self) -> None:
        """Pass on what each side has to say until there is no more."""
        while True:
            if data := self.peer.data_to_send():
                self.connection.data_received(data)
            await asyncio.sleep(0)
            answer = self.transport.take()
            if answer:
                self.events += self.peer.receive_data(answer)
            elif not data:
                return

    def all(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[EventT]) -> EventT:
        (event,) = self.all(kind)
        return event

    def raw(self, data: bytes) -> None:
        """Bytes that h2 would not send."""
        self.connection.data_received(data)


class ServerPlay(_Play):
    """Our server; h2 asks."""

    def __init__(
        self,
        *,
        limits: Http2Limits = DEFAULT_LIMITS,
        validate: bool = True,
        settings: dict[SettingCodes | int, int] | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(client_side=True, validate=validate, settings=settings)
        self.requests = Requests()
        self.closed: list[Http2ServerConnection] = []
        self.connection: Http2ServerConnection = Http2ServerConnection(
            self.requests, limits=limits, on_closed=self.closed.append, watch=watch
        )
        self.connection.connection_made(self.transport)

    @property
    def last(self) -> Heard:
        return self.requests.heard[-1]

    async def ask(self, *fields: tuple[bytes, bytes], end: bool = True, body: bytes = b"") -> Heard:
        """Send a request on the next stream; returns its handler."""
        stream_id = self.peer.get_next_available_stream_id()
        self.peer.send_headers(stream_id, [*REQUEST, *fields], end_stream=end and not body)
        if body:
            self.peer.send_data(stream_id, body, end_stream=end)
        await self.talk()
        return self.last


class ClientPlay(_Play):
    """Our client; h2 answers."""

    def __init__(
        self, *, limits: Http2Limits = DEFAULT_LIMITS, settings: dict[SettingCodes | int, int] | None = None
    ) -> None:
        super().__init__(client_side=False, validate=False, settings=settings)
        self.owner = Owner()
        self.connection: Http2ClientConnection = Http2ClientConnection(self.owner, limits=limits, expected_streams=100)
        self.connection.connection_made(self.transport)

    def open(self, end: bool = True, **slots: Any) -> Heard:
        """Ask; returns the handler, whose stream is set."""
        handler = Heard()
        head = RequestHead(b"POST", b"/a", b"greeter", [(b"te", b"trailers")], **slots)
        handler.stream = self.connection.open(head, end, handler)
        return handler
