"""What clients of HTTP/2 are held to in number and time, and servers that change what they hold us to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from remora.sidecar.wire.http2 import PREFACE, Http2Limits
from remora.sidecar.wire.http2 import frames as wire
from tests.support.h2_peer import Call, Peer, Server, goaway_code, h2_client, h2_server, request_headers
from tests.support.inbound import raw_app, running_inbound
from tests.support.process import running_sidecar
from tests.support.waiting import until

DEADLINE_S = 20
DRIP_S = 0.02
QUICK = Http2Limits(head_timeout_s=0.3)
STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS
BLOCK = b"\x82\x86\x84\x01\x01a"


class Held:
    """Answers each request when it is let go."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.let_go = asyncio.Event()

    async def serve(self, call: Call) -> None:
        self.calls.append(call)
        call.send_headers([(b":status", b"200")])
        await call.send_data(b"there")
        await self.let_go.wait()
        await call.send_data(b"", end=True)


@asynccontextmanager
async def before(held: Held, server: dict[SettingCodes | int, int] | None = None) -> AsyncIterator[tuple[Peer, Server]]:
    """A client's connection to a sidecar before a server that holds what it is asked."""
    async with (
        h2_server(held.serve, server) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        yield client, app


async def test_clients_are_told_of_the_limits_that_they_are_held_to() -> None:
    async with before(Held()) as (client, _):
        await client.ping()
        told = client.connection.remote_settings
        assert told.max_concurrent_streams == 100
        assert told[SettingCodes.INITIAL_WINDOW_SIZE] == 64 * 1024
        assert client.connection.outbound_flow_control_window == 1024 * 1024


async def test_a_stream_more_than_allowed_is_refused_and_the_others_go_on() -> None:
    """By a client that has not read yet how many it may open."""
    held = Held()
    async with before(held) as (client, _):
        calls = [client.request(request_headers()) for _ in range(101)]
        await calls[100].finish()
        assert calls[100].reset_code == ErrorCodes.REFUSED_STREAM
        await until(lambda: len(held.calls) == 100)
        held.let_go.set()
        for call in calls[:100]:
            assert (await call.finish()).data == b"there"
        # One that has ended makes room for another.
        assert (await client.request(request_headers()).finish()).data == b"there"


async def test_a_server_may_change_in_mid_connection_how_many_streams_it_takes() -> None:
    """Two, then ten, then one: further connections carry what the first may not."""
    held = Held()
    async with before(held, {STREAMS: 2}) as (client, app):

        def used() -> list[Peer]:
            return [peer for peer in app.peers if peer.calls]

        calls = [client.request(request_headers()) for _ in range(2)]
        await until(lambda: len(held.calls) == 2)
        (first,) = used()
        assert first.live == 2

        first.change({STREAMS: 10})
        await first.ping()
        calls += [client.request(request_headers()) for _ in range(8)]
        await until(lambda: len(held.calls) == 10)
        assert (first.live, len(used())) == (10, 1)

        first.change({STREAMS: 1})
        await first.ping()
        calls.append(client.request(request_headers()))
        await until(lambda: len(held.calls) == 11)
        assert (first.live, len(used())) == (10, 2)
        held.let_go.set()
        for call in calls:
            assert (await call.finish()).data == b"there"


BEGUN = PREFACE + wire.settings_frame({})
SLOW = {
    "preface without settings": (PREFACE, b""),
    "head in half": (BEGUN + wire.frame_head(20, wire.HEADERS, wire.END_HEADERS, 1) + BLOCK, b""),
    "head a byte at a time": (BEGUN + wire.frame_head(200, wire.HEADERS, wire.END_HEADERS, 1) + BLOCK, b"a"),
    "head that goes on": (
        BEGUN + wire.frame_head(len(BLOCK), wire.HEADERS, 0, 1) + BLOCK,
        wire.frame_head(1, wire.CONTINUATION, 0, 1) + b"\x82",
    ),
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_head_ends_in_enhance_your_calm_and_reaches_no_app(name: str) -> None:
    begun, drip = SLOW[name]
    async with raw_app(b"HTTP/1.1 204 X\r\n\r\n") as app, running_inbound(app.port) as inbound:
        inbound.listener.http2_limits = QUICK
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        writer.write(begun)
        async with asyncio.timeout(DEADLINE_S):
            reading = asyncio.create_task(goaway_code(reader))
            while not reading.done():
                writer.write(drip)
                await asyncio.wait((reading,), timeout=DRIP_S)
            assert await reading == ErrorCodes.ENHANCE_YOUR_CALM
        writer.transport.abort()
        await until(lambda: not inbound.listener._connections)
    assert app.heads == []
