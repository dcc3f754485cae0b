"""New connections on a port: how long they may be silent, and what becomes of the slow, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from remora.sidecar.listener.listener import Listener
from remora.sidecar.listener.opaque import Expected, Opaque
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.http2 import PREFACE, Http2Limits
from remora.sidecar.wire.http2.frames import goaway_frame
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import RequestStream, ResetReason
from tests.support.waiting import until
from tests.support.wire import Heard

TIMEOUT_S = 20
IDLE_S = 0.3


class Port:
    """A listener whose requests are answered by what they are: `http`, or `tcp` and whom for."""

    def __init__(self, expected: Expected | None, *, by_name: bool = False) -> None:
        self.metrics = Metrics()
        opaque = None if expected is None else Opaque(self.tunnel, lambda: expected, by_name=by_name)
        limits = RequestLimits(idle_timeout_s=IDLE_S)
        self.listener = Listener("inbound", self.http, self.http, self.metrics, limits, opaque)
        self.port = 0

    def http(self, stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        stream.send_head(ResponseHead(200, [], content_length=4), False)
        stream.send_data(b"http", True)
        return Heard(stream, head, end)

    def tunnel(self, stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        stream.send_head(ResponseHead(200, []), False)
        stream.send_data(b"tcp %b %b" % (head.scheme, head.authority), True)
        return Heard(stream, head, end)


@asynccontextmanager
async def running(port: Port) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to it."""
    port.port = await port.listener.start("127.0.0.1", 0, "--x")
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield reader, writer
    finally:
        writer.transport.abort()
        port.listener.abort()
        await port.listener.close(0)


@pytest.mark.parametrize(("expected", "by_name"), [(None, False), ("http", False), ("auto", True)])
async def test_who_never_says_anything_is_not_kept(expected: Expected | None, by_name: bool) -> None:
    async with running(Port(expected, by_name=by_name)) as (reader, _):
        assert await reader.read() == b""


async def test_silence_on_a_port_of_any_protocol_is_a_tunnel_on_trial() -> None:
    port = Port("auto")
    async with running(port) as (reader, _):
        assert await reader.read() == b"tcp tcp "
    assert port.metrics.detected == {("inbound", "tcp", "server first"): 1}


async def test_declared_tcp_waits_for_nothing() -> None:
    port = Port("tcp")
    async with running(port) as (reader, _):
        assert await reader.read() == b"tcp tcp "
    assert port.metrics.detected == {("inbound", "tcp", "declared"): 1}


@pytest.mark.parametrize(
    ("expected", "said", "answer"),
    [
        ("auto", b"hello", b"tcp tcp "),
        ("auto", b"GE", b"HTTP/1.1 408 "),
        ("auto", b"\x16\x03\x01\x02\x00\x01", b"tcp tls "),
        ("http", b"hello\r\n\r\n", b"HTTP/1.1 400 "),
        ("http", b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.1 400 "),
    ],
)
async def test_what_is_begun_and_not_gone_on_with(expected: Expected, said: bytes, answer: bytes) -> None:
    port = Port(expected)
    port.listener.limits = RequestLimits(head_timeout_s=0.1)
    port.listener.watch.period_s = port.listener.limits.watch_s
    async with running(port) as (reader, writer):
        writer.write(said)
        assert (await reader.read()).startswith(answer)


async def test_a_preface_in_small_pieces_is_http2() -> None:
    async with running(Port("auto")) as (reader, writer):
        for at in range(len(PREFACE)):
            writer.write(PREFACE[at : at + 1])
            await asyncio.sleep(0.02)  # longer in all than silence is waited for
        assert (await reader.readexactly(9))[3] == 4


async def test_what_nobody_has_made_out_yet_ends_with_the_listener() -> None:
    port = Port("http")
    async with running(port) as (reader, writer):
        writer.write(PREFACE[:5])
        await writer.drain()
        await until(lambda: port.listener._new)
        port.listener.abort()
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_connection_lost_while_it_is_tried_out_is_told_of() -> None:
    """Reset before anybody has read of it: whoever was asked for a tunnel must not wait for it."""
    port = Port("auto")
    asked: list[Heard] = []

    def tunnel(stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        asked.append(Heard(stream, head, end))
        return asked[-1]

    opaque = port.listener.opaque = Opaque(tunnel, lambda: "auto")
    opaque.server_first = True
    async with running(port):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: len(asked) > 1 and all(heard.reset for heard in asked[1:]))


@asynccontextmanager
async def silent_where_http_is_spoken(
    idle_s: float,
) -> AsyncIterator[tuple[Port, list[Heard], list[asyncio.StreamReader]]]:
    """Ten connections that say nothing, on a port where somebody has spoken HTTP; who was asked for a tunnel; their
    ends."""
    port = Port("auto")
    port.listener.limits = RequestLimits(idle_timeout_s=idle_s)
    asked: list[Heard] = []

    def tunnel(stream: RequestStream, head: RequestHead, end: bool) -> Heard:
        asked.append(Heard(stream, head, end))
        stream.send_head(ResponseHead(200, []), False)
        return asked[-1]

    port.listener.opaque = Opaque(tunnel, lambda: "auto")
    async with running(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"http")
        ends = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(10)]
        try:
            new = port.listener._new
            await until(lambda: len(new) + len(asked) >= 10 and all(connection._patient for connection in new))
            yield port, asked, [reader for reader, _ in ends]
        finally:
            for _, writer in ends:
                writer.transport.abort()


async def test_where_http_is_spoken_one_silent_connection_is_on_trial() -> None:
    async with silent_where_http_is_spoken(60.0) as (port, asked, _):
        assert len(asked) == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"http")).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
        assert len(asked) == 1


async def test_who_waits_for_his_client_in_vain_is_not_kept() -> None:
    async with silent_where_http_is_spoken(0.3) as (_, asked, readers):
        ended = [asyncio.ensure_future(reader.read()) for reader in readers]
        await until(lambda: sum(end.done() for end in ended) >= 9)
        assert len(asked) == 1
        for end in ended:
            end.cancel()


async def test_silent_connections_do_not_hold_up_a_drain() -> None:
    async with silent_where_http_is_spoken(60.0) as (port, asked, _):
        port.listener.drain()
        assert await port.listener.close(TIMEOUT_S / 2)
        assert [heard.reset for heard in asked] == [ResetReason.PEER_RESET]


async def test_a_server_that_speaks_first_is_heard_where_a_stranger_spoke_http() -> None:
    async with silent_where_http_is_spoken(60.0) as (port, asked, readers):
        asked[0].stream.send_data(b"220 hello\r\n", False)
        await until(lambda: len(asked) >= 10)
        for heard in asked[1:]:
            heard.stream.send_data(b"220 hello\r\n", False)
        for reader in readers:
            assert await reader.readline() == b"220 hello\r\n"
        assert port.listener.opaque is not None
        assert (port.listener.opaque.on_trial, port.metrics.detected["inbound", "tcp", "server first"]) == (0, 10)


SETTINGS = PREFACE + b"\0\0\0\4\0\0\0\0\0"
HALF_A_HEAD = SETTINGS + b"\0\0\1\1\1\0\0\0\1\x82"


@pytest.mark.parametrize("begun", [PREFACE, SETTINGS, HALF_A_HEAD], ids=["preface", "settings", "half a head"])
async def test_http2_on_which_nothing_is_asked_is_not_kept(begun: bytes) -> None:
    """Without SETTINGS, or amid a head, it is told that it is too slow, else that it is idle: by GOAWAY, and closed."""
    port = Port("http")
    limits = RequestLimits(idle_timeout_s=IDLE_S)
    port.listener.http2_limits = Http2Limits(request=limits, head_timeout_s=0.1, drain_wait_s=0.1)
    port.listener.watch.period_s = limits.watch_s
    async with running(port) as (reader, writer):
        writer.write(begun)
        code = 0 if begun is SETTINGS else 11
        assert goaway_frame(0, code, "")[9:] in await reader.read()
        writer.close()
        await until(lambda: not port.metrics.connections["inbound"])
        assert not len(port.listener.watch)
