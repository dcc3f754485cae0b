"""Upstreams that fail on script: h11 on raw sockets, which do at each attempt what the case says, and write it down."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from typing import cast

import h11

from tests.differential.policies.asks import SLOW_S, TRICKLE_S, Act, Ask

CASE = b"x-case"
"""Names the case that a request belongs to."""
ATTEMPT = b"x-attempt"
"""In an answer: of which attempt it is, from 0."""

Fields = tuple[tuple[bytes, bytes], ...]


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A request as it arrived."""

    backend: str
    port: int
    method: bytes
    target: bytes
    fields: Fields
    """Names in lower case."""
    length: int
    """Of its body."""


class Stage:
    """All upstreams of one proxy, and the cases that are played on them."""

    def __init__(self) -> None:
        self._asks: dict[bytes, Ask] = {}
        self._arrivals: dict[bytes, list[Arrival]] = {}
        self._servers: list[asyncio.Server] = []
        self._closed: list[socket.socket] = []
        self.connections: set[_Connection] = set()

    async def open(self, backend: str) -> int:
        """One more upstream of `backend`; its port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, backend), "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def refuse(self) -> int:
        """A port that refuses connections, and that nobody else gets."""
        probe = socket.socket()
        probe.bind(("127.0.0.1", 0))
        self._closed.append(probe)
        port: int = probe.getsockname()[1]
        return port

    async def close(self) -> None:
        for probe in self._closed:
            probe.close()
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()

    def begin(self, case: bytes, ask: Ask) -> None:
        self._asks[case] = ask
        self._arrivals[case] = []

    def end(self, case: bytes) -> list[Arrival]:
        """What arrived."""
        del self._asks[case]
        return self._arrivals.pop(case)

    def on_arrival(self, case: bytes, arrival: Arrival) -> tuple[int, Act]:
        """The number of the attempt, and what to do."""
        arrivals = self._arrivals.get(case)
        if arrivals is None:
            return 0, Act("reset")
        arrivals.append(arrival)
        return len(arrivals) - 1, self._asks[case].act(len(arrivals) - 1)


class _Connection(asyncio.Protocol):
    def __init__(self, stage: Stage, backend: str) -> None:
        self._stage = stage
        self._backend = backend
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._transport: asyncio.Transport
        self._request: h11.Request | None = None
        self._length = 0
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._stage.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stage.connections.discard(self)
        if self._later is not None:
            self._later.cancel()

    def abort(self) -> None:
        """End it by RST."""
        own: socket.socket = self._transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._h11.receive_data(data)
        self._read()

    def _read(self) -> None:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                self._request, self._length = event, 0
            elif isinstance(event, h11.Data):
                self._length += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._act()
            else:
                return

    def _act(self) -> None:
        request = self._request
        assert request is not None, "a request has ended"
        fields = tuple((bytes(name).lower(), bytes(value)) for name, value in request.headers)
        case = dict(fields).get(CASE, b"")
        port = self._transport.get_extra_info("sockname")[1]
        arrival = Arrival(self._backend, port, request.method, request.target, fields, self._length)
        number, act = self._stage.on_arrival(case, arrival)
        loop = asyncio.get_running_loop()
        match act.deed:
            case "answer":
                self._answer(number, act)
            case "slow":
                self._later = loop.call_later(SLOW_S, self._answer, number, act)
            case "reset":
                self.abort()
            case "close":
                self._transport.close()
            case "break":
                self._begin_answer(number, act, b"content-length", b"10")
                # What is written by then is out before the RST.
                self._later = loop.call_later(0.01, self.abort)
            case "trickle":
                self._begin_answer(number, act, b"transfer-encoding", b"chunked")
                self._later = loop.call_later(TRICKLE_S, self._end_answer)
            case "hang":
                pass

    def _begin_answer(self, number: int, act: Act, name: bytes, value: bytes) -> None:
        fields = [(ATTEMPT, b"%d" % number), (b"X-Down", b"as it was"), (name, value)]
        if act.retry_after:
            fields.append((b"retry-after", act.retry_after.encode()))
        self._send(h11.Response(status_code=act.status, headers=fields))
        if self._request is not None and self._request.method != b"HEAD" and act.status != 204 and value != b"0":
            self._send(h11.Data(data=b"ok"))

    def _answer(self, number: int, act: Act) -> None:
        if act.status == 204:
            self._begin_answer(number, act, b"x-empty", b"0")
        else:
            self._begin_answer(number, act, b"content-length", b"2")
        self._end_answer()

    def _end_answer(self) -> None:
        self._send(h11.EndOfMessage())
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self._read()
        else:
            self._transport.close()

    def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)
