"""Upstreams of HTTP/1.1 that fail on script: h11 on raw sockets, which do at each attempt what the case says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import cast

import h11

from tests.differential.policies.asks import SLOW_S, TRICKLE_S, Act
from tests.differential.policies.stage import ATTEMPT, CASE, Arrival, Playing


@asynccontextmanager
async def http1_upstream(stage: Playing, backend: str) -> AsyncIterator[int]:
    """One upstream of `backend`; gives its port."""
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(stage, backend, connections), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in tuple(connections):
            connection.abort()
        await server.wait_closed()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else gets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


class _Connection(asyncio.Protocol):
    def __init__(self, stage: Playing, backend: str, connections: set[_Connection]) -> None:
        self._stage = stage
        self._backend = backend
        self._connections = connections
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._transport: asyncio.Transport
        self._request: h11.Request | None = None
        self._length = 0
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
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
        if request.method == b"HEAD" and act.deed in ("break", "trickle"):
            # An answer that is its head has no middle.
            act = Act()
        match act.deed:
            case "answer":
                self._answer(number, act)
            case "slow":
                self._later = loop.call_later(SLOW_S, self._answer, number, act)
            case "hold":
                self._stage.hold(partial(self._answer, number, act))
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
            case _:
                pass

    def _begin_answer(self, number: int, act: Act, name: bytes, value: bytes) -> None:
        fields = [(ATTEMPT, b"%d" % number), (b"X-Down", b"as it was"), (name, value)]
        if act.retry_after:
            fields.append((b"retry-after", act.retry_after.encode()))
        if self._request is not None and any(name == b"origin" for name, _ in self._request.headers):
            # An app that lets everybody in by itself: what the route says counts.
            fields.append((b"access-control-allow-origin", b"*"))
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
