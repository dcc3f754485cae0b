"""Upgrade and CONNECT on both sides of HTTP/1.1: when bytes become the tunnel's, and when they do not."""

from __future__ import annotations

import asyncio

import pytest

from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, ResetReason
from remora.sidecar.wire.tcp import TcpClientConnection, TcpServerConnection
from tests.support.wire import FakeTransport, Heard, Owner, Requests
from tests.unit.wire.played import Downstream

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"
GET = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class Asking(Downstream):
    """A connection on which a tunnel is asked for."""

    def accept(self, status: int = 101) -> None:
        self.last.stream.send_head(ResponseHead(status, [(b"x-a", b"1")]), False)


async def test_what_waits_for_a_slow_reader_and_one_read_are_less_than_256_kib() -> None:
    requests, owner = Requests(), Owner()
    for connection in (
        Http1ServerConnection(requests, lambda _: None, RequestLimits()),
        Http1ClientConnection(owner),
        TcpServerConnection(requests, lambda _: None),
        TcpClientConnection(owner),
    ):
        transport = FakeTransport()
        connection.connection_made(transport)
        assert transport.high_water + 256_000 < 256 * 1024


@pytest.mark.parametrize(("asks", "status"), [(UPGRADE, 101), (CONNECT, 200)])
async def test_bytes_behind_the_head_wait_for_the_answer(asks: bytes, status: int) -> None:
    server = Asking().send(asks + b"early")
    assert not server.last.ended
    server.send(b" bird")
    assert (server.last.data, server.transport.reading) == (b"", False)
    server.accept(status)
    assert server.last.data == b"early bird"
    assert server.transport.reading
    server.send(b"!")
    server.last.stream.send_data(b"raw", False)
    assert server.last.data == b"early bird!"
    assert server.transport.take().endswith(b"\r\n\r\nraw")
    assert server.connection.live_streams == 1


async def test_what_the_switch_looks_like() -> None:
    server = Asking().send(UPGRADE)
    head = server.last.head
    assert (head.method, head.path, head.upgrade, head.fields) == (b"GET", b"/chat", b"websocket", [])
    server.accept()
    assert server.transport.take() == (
        b"HTTP/1.1 101 Switching Protocols\r\nx-a: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


async def test_connect_is_for_an_authority_and_its_answer_has_no_framing() -> None:
    server = Asking().send(CONNECT)
    head = server.last.head
    assert (head.method, head.path, head.authority, head.upgrade) == (b"CONNECT", b"", b"db:5432", None)
    server.accept(200)
    assert server.transport.take() == b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n"


async def test_each_direction_ends_by_itself() -> None:
    server = Asking().send(UPGRADE)
    server.accept()
    assert server.transport.protocol.eof_received() is True
    assert server.last.ended
    server.last.stream.send_data(b"rest", False)
    assert not server.transport.closed
    server.last.stream.send_data(b"", True)
    assert server.transport.closed
    assert not server.transport.aborted
    server.transport.protocol.connection_lost(None)
    assert server.last.reset is None
    assert server.closed == [server.connection]
    assert server.connection.live_streams == 0


async def test_a_refused_upgrade_goes_on_as_http() -> None:
    server = Asking().send(UPGRADE + GET)
    server.answer(404)
    await asyncio.sleep(0)
    assert server.last.head.path == b"/next"
    server.answer()
    assert server.transport.take().count(b"HTTP/1.1 ") == 2
    assert server.transport.reading
    assert not server.transport.closed


async def test_a_refused_upgrade_whose_sender_has_ended_closes() -> None:
    """Nothing can come any more, and nothing would tell that the peer is gone."""
    server = Asking().send(UPGRADE)
    assert server.transport.protocol.eof_received()
    server.answer(426)
    assert b"connection: close" in server.transport.take().lower()
    assert server.transport.closed


async def test_behind_a_refused_connect_nothing_is_read() -> None:
    server = Asking().send(CONNECT + GET)
    server.answer(503)
    await asyncio.sleep(0)
    assert len(server.requests.heard) == 1
    assert b"Connection: close" in server.transport.take()
    assert server.transport.closed


async def test_an_upgrade_waits_for_the_request_before_it() -> None:
    server = Asking().send(GET + UPGRADE + b"bytes")
    assert len(server.requests.heard) == 1
    server.answer()
    assert server.last.head.upgrade == b"websocket"
    server.accept()
    assert server.last.data == b"bytes"


async def test_a_downstream_that_leaves_takes_its_tunnel_along() -> None:
    for opened in (False, True):
        server = Asking().send(UPGRADE)
        if opened:
            server.accept()
        server.transport.protocol.connection_lost(ConnectionResetError())
        assert server.last.reset is not None
        assert server.closed == [server.connection]


@pytest.mark.parametrize(
    "asks",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade,http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
    ],
)
async def test_upgrades_that_do_not_count(asks: bytes) -> None:
    server = Asking().send(asks)
    assert (server.last.head.upgrade, server.last.ended) == (None, True)


async def test_of_several_protocols_the_first_that_is_not_http2_is_passed_on() -> None:
    server = Asking().send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket, other\r\n\r\n"
    )
    assert server.last.head.upgrade == b"websocket"


@pytest.mark.parametrize(
    ("asks", "status"),
    [
        (b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"CONNECT db HTTP/1.1\r\nHost: db\r\n\r\n", b"400"),
        (b"CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\nContent-Length: 2\r\n\r\nab", b"501"),
        (UPGRADE[:-2] + b"Content-Length: 2\r\n\r\nab", b"501"),
        (UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"501"),
    ],
)
async def test_what_cannot_be_a_tunnel_is_refused(asks: bytes, status: bytes) -> None:
    server = Asking().send(asks)
    assert server.transport.take().startswith(b"HTTP/1.1 " + status)
    assert not server.requests.heard


# ── the client side ──


class Client:
    """A connection to an upstream on which a tunnel was asked for."""

    def __init__(self, method: bytes = b"GET", upgrade: bytes | None = b"websocket") -> None:
        self.owner = Owner()
        self.connection = Http1ClientConnection(self.owner)
        self.transport = FakeTransport()
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self.heard = Heard()
        path = b"" if method == b"CONNECT" else b"/chat"
        head = RequestHead(method, path, b"db:5432", [(b"x-a", b"1")], upgrade=upgrade)
        self.stream = self.connection.open(head, False, self.heard)

    def send(self, data: bytes) -> Client:
        self.transport.receive(data)
        return self


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-B: 2\r\n\r\n"


async def test_an_upgrade_and_server_bytes_in_the_same_segment() -> None:
    client = Client()
    assert client.transport.take() == (
        b"GET /chat HTTP/1.1\r\nHost: db:5432\r\nx-a: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert client.connection.free_slots == 0
    client.send(SWITCHED + b"hello").send(b" there")
    head, end = client.heard.heads[0]
    assert (head.status, head.fields, end) == (101, [(b"X-B", b"2")], False)
    assert client.heard.data == b"hello there"
    client.stream.send_data(b"raw", False)
    assert client.transport.take() == b"raw"
    assert (client.connection.free_slots, client.connection.live_streams, client.owner.freed) == (0, 1, 0)
    client.stream.send_data(b"", True)
    assert client.transport.eof_written
    client.transport.protocol.eof_received()
    client.transport.protocol.connection_lost(None)
    assert (client.heard.ended, client.heard.reset, client.owner.closed) == (True, None, 1)


async def test_connect_and_its_bytes() -> None:
    client = Client(b"CONNECT", None)
    assert client.transport.take() == b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\nx-a: 1\r\n\r\n"
    client.send(b"HTTP/1.1 200 OK\r\n\r\nhel").send(b"lo")
    assert (client.heard.heads[0][0].status, client.heard.data) == (200, b"hello")


async def test_what_is_sent_early_waits_for_the_switch_and_is_dropped_without_it() -> None:
    client = Client()
    client.transport.take()
    client.stream.send_data(b"early", False)
    assert client.transport.take() == b""
    client.send(SWITCHED)
    assert client.transport.take() == b"early"

    client = Client()
    client.transport.take()
    client.stream.send_data(b"early", False)
    client.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    assert (client.heard.heads[0][0].status, client.heard.data, client.heard.ended) == (404, b"no", True)
    assert client.transport.take() == b""
    assert (client.owner.freed, client.connection.free_slots) == (1, 1)


@pytest.mark.parametrize("answer", [SWITCHED, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"])
async def test_who_sends_much_before_the_switch_is_held_back(answer: bytes) -> None:
    client = Client()
    client.transport.take()
    client.stream.send_data(bytes(WRITE_HIGH_WATER), False)
    assert client.heard.writable == []
    client.stream.send_data(b"!", False)
    assert client.heard.writable == [False]
    client.send(answer)
    assert client.heard.writable == [False, True]
    assert client.transport.take() == (bytes(WRITE_HIGH_WATER) + b"!" if answer is SWITCHED else b"")


async def test_a_switch_that_nobody_asked_for_is_a_fault() -> None:
    client = Client(upgrade=None)
    client.send(SWITCHED)
    assert (client.heard.heads, client.heard.reset) == ([], ResetReason.PROTOCOL_ERROR)
    assert client.transport.aborted


async def test_a_cut_tunnel_is_a_reset() -> None:
    client = Client().send(SWITCHED)
    client.transport.protocol.connection_lost(ConnectionResetError())
    assert (client.heard.ended, client.heard.reset, client.owner.closed) == (False, ResetReason.PEER_RESET, 1)


async def test_a_tunnel_given_up_closes_the_connection() -> None:
    for answer in (b"", SWITCHED):
        client = Client()
        if answer:
            client.send(answer)
        client.stream.reset(ResetReason.CANCELLED)
        assert client.transport.aborted
        client.transport.protocol.connection_lost(None)
        assert (client.heard.reset, client.owner.closed) == (None, 1)
