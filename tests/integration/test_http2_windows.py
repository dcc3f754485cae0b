"""Flow control from end to end: windows of a client and of a server on either side of a sidecar."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from h2.settings import SettingCodes

from tests.support.h2_peer import Call, Peer, request_headers
from tests.support.h2_sidecar import OK, between, echo
from tests.support.waiting import until

WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
MEBIBYTE = bytes(range(256)) * 4096


async def post(client: Peer, body: bytes, *, pad: int | None = None) -> Call:
    call = client.request(request_headers("POST"), end=False)
    await call.send_data(body, end=True, pad=pad)
    return await call.finish()


@pytest.mark.parametrize("window", [1, 1000, 65_535, 2**20])
async def test_bodies_larger_than_any_window_arrive_whole_both_ways(window: int) -> None:
    body = MEBIBYTE[: 200 if window == 1 else None]
    async with between(echo, server={WINDOW: window}, client={WINDOW: window}) as (client, _, _):
        # h2 takes the first acknowledgement for that of all its settings: let them all have come.
        await post(client, b"")
        calls = await asyncio.gather(*(post(client, body) for _ in range(4)))
    assert [hashlib.sha256(call.data).digest() for call in calls] == [hashlib.sha256(body).digest()] * 4


async def test_a_stream_that_is_not_read_stops_its_sender_and_nobody_else() -> None:
    """Down: the server stops after less than 256 KiB that nobody takes; other streams of both connections go on."""
    sender: list[Call] = []

    async def serve(call: Call) -> None:
        call.send_headers(OK)
        if call.field(b":path") == b"/flood":
            sender.append(call)
            await call.send_data(MEBIBYTE * 4, end=True)
        else:
            await call.send_data(b"hello", end=True)

    async with between(serve) as (client, _, _):
        client.connection.increment_flow_control_window(2**24)
        flood = client.request(request_headers(path="/flood"), end=False)
        flood.reads = flood.keeps = False
        await until(lambda: bool(sender) and sender[0].room == 0)
        for _ in range(3):
            assert (await client.request(request_headers()).finish()).data == b"hello"
        assert sender[0].room == 0
        assert flood.size <= 65_535
        assert sender[0].sent - flood.size < 256 * 1024
        flood.read_on()
        await flood.finish()
        assert flood.size == 4 * len(MEBIBYTE)


async def test_a_server_that_does_not_read_stops_the_client_and_nobody_else() -> None:
    """Up: likewise."""
    stuck: list[Call] = []

    async def serve(call: Call) -> None:
        if call.field(b":path") == b"/flood":
            call.reads = call.keeps = False
            stuck.append(call)
            await call.finish()
        call.send_headers(OK)
        await call.send_data(b"hello", end=True)

    async with between(serve) as (client, app, _):
        flood = client.request(request_headers("POST", "/flood"), end=False)
        await until(lambda: bool(stuck))
        app.peers[0].connection.increment_flow_control_window(2**24)
        app.peers[0].flush()
        sending = asyncio.create_task(flood.send_data(MEBIBYTE * 4, end=True))
        await until(lambda: flood.room == 0)
        for _ in range(3):
            assert (await client.request(request_headers()).finish()).data == b"hello"
        assert flood.room == 0
        assert flood.sent - stuck[0].size < 256 * 1024
        stuck[0].read_on()
        await sending
        assert (await flood.finish()).data == b"hello"
        assert stuck[0].size == 4 * len(MEBIBYTE)


async def test_a_window_made_smaller_in_mid_stream_goes_below_zero_and_is_kept() -> None:
    """h2 raises where more comes than its window, which the settings change takes far below zero, allows."""
    async with between(echo, client={WINDOW: 60_000}) as (client, _, _):
        client.connection.increment_flow_control_window(2**24)
        call = client.request(request_headers("POST"), end=False)
        call.reads = False
        await call.send_data(MEBIBYTE, end=True)
        await call.until(lambda: call.size == 60_000)
        client.change({WINDOW: 10})
        await client.ping()
        assert call.size == 60_000
        # Still 40,000 below zero after this.
        client.connection.increment_flow_control_window(19_990, call.stream_id)
        await client.ping()
        assert call.size == 60_000
        client.connection.increment_flow_control_window(40_007, call.stream_id)
        await client.ping()
        await call.until(lambda: call.size == 60_007)
        client.change({WINDOW: 2**20})
        await call.finish()
        assert call.data == MEBIBYTE


async def test_a_window_made_larger_by_settings_lets_waiting_streams_go_on() -> None:
    async with between(echo, client={WINDOW: 0}) as (client, _, _):
        calls = [client.request(request_headers("POST"), end=False) for _ in range(5)]
        for call in calls:
            call.reads = False
            await call.send_data(MEBIBYTE[:10_000], end=True)
        await asyncio.gather(*(call.until(lambda call=call: bool(call.headers)) for call in calls))  # type: ignore[misc]
        await client.ping()
        assert [call.size for call in calls] == [0] * 5
        client.change({WINDOW: 10_000})
        for call in calls:
            assert (await call.finish()).data == MEBIBYTE[:10_000]


async def test_padding_counts_in_windows_and_is_no_data() -> None:
    """A megabyte in which each frame is padded would stall if the padding's share of the window were not given back."""
    async with between(echo) as (client, _, _):
        call = client.request(request_headers("POST"), end=False)
        for offset in range(0, 400_000, 500):
            await call.send_data(MEBIBYTE[offset : offset + 500], pad=255)
        await call.send_data(b"", end=True)
        assert (await call.finish()).data == MEBIBYTE[:400_000]
