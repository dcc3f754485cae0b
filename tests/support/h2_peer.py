"""Peers that speak HTTP/2 over real sockets by h2 (python-hyper): a client, and servers that do as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

PeerSettings = dict[SettingCodes | int, int]
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
        self.sent = 0
        self.largest_frame = 0
        self.trailers: Headers | None = None
        self.ended = False
        self.reset_code: int | None = None
        self.reads = True
        """False: the peer gets no more window."""
        self.held = 0
        """Bytes that it was not given back."""
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

    @property
    def room(self) -> int:
        """How much may be sent now."""
        return self._peer.connection.local_flow_control_window(self.stream_id)

    def read_on(self) -> None:
        """Give the window back that was held back, and hold none from now on."""
        self.reads = True
        if self.held:
            self._peer.connection.acknowledge_received_data(self.held, self.stream_id)
            self.held = 0
            self._peer.flush()

    async def send_data(self, data: bytes, end: bool = False, pad: int | None = None) -> None:
        """Send as the windows allow."""
        connection = self._peer.connection
        view = memoryview(data)
        while view:
            room = min(self.room, connection.max_outbound_frame_size)
            if pad is not None:
                room -= pad + 1
            if room <= 0:
                await self._peer.wait()
                if self.reset_code is not None or not self._peer.is_open:
                    raise ConnectionError("the stream ended")
                continue
            piece, view = view[:room], view[room:]
            connection.send_data(self.stream_id, bytes(piece), end_stream=end and not view, pad_length=pad)
            self.sent += len(piece)
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

    def __init__(self, *, client: bool, settings: PeerSettings | None = None, serve: Serve | None = None):
        config = H2Configuration(
            client_side=client,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.connection = H2Connection(config)
        self._settings = dict(settings or {})
        # h2 holds the other side to all that it says first, even before that can have heard of it.
        self._window = self._settings.pop(SettingCodes.INITIAL_WINDOW_SIZE, None)
        self.connection.local_settings = Settings(client, dict(self.connection.local_settings) | self._settings)
        self.calls: dict[int, Call] = {}
        # h2 would end all streams with it.
        self.connection._frame_dispatch_table[GoAwayFrame] = self._on_goaway
        self.goaways: list[tuple[int, int]] = []
        """(last stream id, code) of each GOAWAY that has come."""
        self.is_open = False
        self.pings = 0
        self.pongs = 0
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
        if self._window is not None:
            self.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self._window})
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
        if isinstance(event, RequestReceived):
            self._on_request(event)
        elif isinstance(event, PingAckReceived):
            self.pongs += 1
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
            self._on_data(call, event)
        elif isinstance(event, StreamEnded):
            call.ended = True
        elif isinstance(event, StreamReset):
            call.reset_code = event.error_code

    def _on_data(self, call: Call, event: DataReceived) -> None:
        call.size += len(event.data)
        call.largest_frame = max(call.largest_frame, event.flow_controlled_length)
        if call.keeps:
            call.data += event.data
        if not call.reads:
            call.held += event.flow_controlled_length
        elif event.flow_controlled_length:
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _on_goaway(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        self.goaways.append((frame.last_stream_id, frame.error_code))
        return [], []

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

    def change(self, settings: PeerSettings) -> None:
        """Change settings in the middle."""
        self.connection.update_settings(settings)
        self.flush()

    async def ping(self) -> None:
        """Wait for the answer to a PING: what was sent before has been read by then."""
        pongs = self.pongs
        self.connection.ping(b"testping")
        self.flush()
        async with asyncio.timeout(DEADLINE_S):
            while self.pongs == pongs:
                assert self.is_open
                await self.wait()

    def goaway(self, last_stream_id: int | None = None) -> None:
        """Take no more streams. Unlike h2 by itself, go on with those that are there."""
        last = self.connection.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self.flush()
        self.transport.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + bytes(4))


def request_headers(method: str = "GET", path: str = "/", *fields: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    pseudo = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"app")]
    return [*pseudo, *fields]


@asynccontextmanager
async def h2_client(port: int, settings: PeerSettings | None = None) -> AsyncIterator[Peer]:
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
    settings: PeerSettings | None = None,
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


async def goaway_code(reader: asyncio.StreamReader) -> int | None:
    """Read frames to the end of the connection; the code of the last GOAWAY."""
    code = None
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == GoAwayFrame.type:
                code = int.from_bytes(payload[4:8], "big")
    return code
