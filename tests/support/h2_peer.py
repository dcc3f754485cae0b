"""Peers that speak HTTP/2 over real sockets by h2 (python-hyper): a client, and servers that do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

Headers = Sequence[tuple[bytes, bytes]]
DEADLINE_S = 20


class Call:
    """One stream, from either end: what has come on it, and what can be sent."""

    def __init__(self, peer: Peer, stream_id: int) -> None:
        self._peer = peer
        self.stream_id = stream_id
        self.informational: list[Headers] = []
        self.headers: Headers = []
        self.data = b""
        self.size = 0
        self.trailers: Headers | None = None
        self.ended = False
        self.reset_code: int | None = None
        self.reads = True
        """False: the peer gets no more window."""
        self.keeps = True
        """False: data is counted only."""

    @property
    def status(self) -> int:
        return int(self.field(b":status") or b"0")

    def field(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; what has come on any stream is looked at again each time."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                assert self._peer.is_open or self.over, "the connection ended before that"
                await self._peer.wait()

    @property
    def over(self) -> bool:
        return self.ended or self.reset_code is not None or not self._peer.is_open

    async def finish(self) -> Call:
        """Wait for the end of what comes, in whatever way."""
        await self.until(lambda: self.over)
        return self

    def send_headers(self, headers: Headers, end: bool = False) -> None:
        self._peer.connection.send_headers(self.stream_id, list(headers), end_stream=end)
        self._peer.flush()

    async def send_data(self, data: bytes, end: bool = False) -> None:
        """Send as the windows allow."""
        connection = self._peer.connection
        view = memoryview(data)
        while view:
            room = min(connection.local_flow_control_window(self.stream_id), connection.max_outbound_frame_size)
            if room <= 0:
                await self._peer.wait()
                if self.reset_code is not None or not self._peer.is_open:
                    raise ConnectionError("the stream ended")
                continue
            piece, view = view[:room], view[room:]
            connection.send_data(self.stream_id, bytes(piece), end_stream=end and not view)
            self._peer.flush()
        if end and not data:
            connection.end_stream(self.stream_id)
            self._peer.flush()

    def reset(self, code: int = ErrorCodes.CANCEL) -> None:
        self._peer.connection.reset_stream(self.stream_id, code)
        self._peer.flush()


Serve = Callable[[Call], Awaitable[None]]


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, *, client: bool, settings: dict[SettingCodes, int] | None = None, serve: Serve | None = None):
        config = H2Configuration(
            client_side=client,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.connection = H2Connection(config)
        if settings:
            self.connection.local_settings = Settings(client, {**self.connection.local_settings, **settings})
        self.calls: dict[int, Call] = {}
        self.terminated: ConnectionTerminated | None = None
        self.is_open = False
        self.pings = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport
        self._serve = serve
        self._grew: asyncio.Future[None] | None = None
        self.on_request: Callable[[Peer, Call], bool] | None = None
        """Sees each request before it is served; False: it is not."""

    @property
    def live(self) -> int:
        return self.connection.open_inbound_streams

    def flush(self) -> None:
        if data := self.connection.data_to_send():
            self.transport.write(data)

    async def wait(self) -> None:
        """Until something comes."""
        if self._grew is None:
            self._grew = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._grew)

    def _wake(self) -> None:
        grew, self._grew = self._grew, None
        if grew is not None:
            grew.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self.connection.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        for task in self.tasks:
            task.cancel()
        self._wake()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.connection.receive_data(data):
                self._on_event(event)
        except H2Error:
            self.flush()
            self.transport.close()
            raise
        self.flush()
        self._wake()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
        elif isinstance(event, RequestReceived):
            self._on_request(event)
        elif isinstance(event, PingReceived):
            self.pings += 1
        elif call := self.calls.get(getattr(event, "stream_id", None) or 0):
            self._on_event_of(call, event)

    def _on_event_of(self, call: Call, event: Event) -> None:
        if isinstance(event, InformationalResponseReceived):
            call.informational.append(event.headers)
        elif isinstance(event, ResponseReceived):
            call.headers = event.headers
        elif isinstance(event, TrailersReceived):
            call.trailers = event.headers
        elif isinstance(event, DataReceived):
            call.size += len(event.data)
            if call.keeps:
                call.data += event.data
            if call.reads and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            call.ended = True
        elif isinstance(event, StreamReset):
            call.reset_code = event.error_code

    def _on_request(self, event: RequestReceived) -> None:
        call = self.calls[event.stream_id] = Call(self, event.stream_id)
        call.headers = event.headers
        if self.on_request is not None and not self.on_request(self, call):
            return
        assert self._serve is not None, "a client is not asked"
        task = asyncio.get_running_loop().create_task(self._run(self._serve, call))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, serve: Serve, call: Call) -> None:
        try:
            await serve(call)
        except (ConnectionError, H2Error):
            # The other side gave the stream up while it was being served.
            return

    def request(self, headers: Headers, end: bool = True) -> Call:
        """Open a stream."""
        call = Call(self, self.connection.get_next_available_stream_id())
        self.calls[call.stream_id] = call
        call.send_headers(headers, end)
        return call

    def goaway(self, last_stream_id: int | None = None) -> None:
        """Take no more streams. Unlike h2 by itself, go on with those that are there."""
        last = self.connection.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self.flush()
        self.transport.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + bytes(4))


def request_headers(method: str = "GET", path: str = "/", *fields: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    pseudo = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"app")]
    return [*pseudo, *fields]


@asynccontextmanager
async def h2_client(port: int, settings: dict[SettingCodes, int] | None = None) -> AsyncIterator[Peer]:
    """A connection to 127.0.0.1:`port`."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_connection(lambda: Peer(client=True, settings=settings), "127.0.0.1", port)
    try:
        yield peer
    finally:
        transport.abort()


class Server:
    """The connections of a running server."""

    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return sum(peer.is_open for peer in self.peers)


@asynccontextmanager
async def h2_server(
    serve: Serve,
    settings: dict[SettingCodes, int] | None = None,
    on_request: Callable[[Peer, Call], bool] | None = None,
) -> AsyncIterator[Server]:
    """A server that runs `serve` for each request."""
    server = Server()

    def accept() -> Peer:
        peer = Peer(client=False, settings=settings, serve=serve)
        peer.on_request = on_request
        server.peers.append(peer)
        return peer

    listening = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for peer in server.peers:
            if peer.is_open:
                peer.transport.abort()
        await listening.wait_closed()
