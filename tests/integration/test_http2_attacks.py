"""Peers that mean harm, on either side of a real sidecar: what they get, and that its memory stays flat."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from remora.sidecar.wire.http2 import PREFACE
from remora.sidecar.wire.http2 import frames as wire
from tests.support.backend import running_raw_server
from tests.support.h2_peer import Call, Peer, goaway_code, h2_client, h2_server, request_headers
from tests.support.memory import Memory, memory_of
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until

DEADLINE_S = 30
MEBIBYTE = 2**20
CALM = ErrorCodes.ENHANCE_YOUR_CALM
GET = b"\x82\x86\x84\x01\x01a"
POST = b"\x83\x86\x84\x01\x01a"
PING = wire.ping_frame(b"12345678", 0)
FLAT_BYTES = 16 * MEBIBYTE
"""How much a process may grow by while it is attacked: buffers of sockets and of the allocator, once."""


def headers(stream_id: int, end: bool = True, block: bytes = GET) -> bytes:
    return wire.headers_frames(stream_id, block, end, 16384)


# raw peers


async def send_all(writer: asyncio.StreamWriter, data: Iterable[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in data:
            writer.write(piece)
            await writer.drain()


async def attack(port: int, flood: Iterable[bytes]) -> int | None:
    """Send `flood` as an HTTP/2 client that reads along; the code by which it was shut out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(DEADLINE_S):
        reading = asyncio.create_task(goaway_code(reader))
        await send_all(writer, itertools.chain((PREFACE + wire.settings_frame({}),), flood))
        code = await reading
    writer.close()
    return code


def over(begin: bytes, piece: bytes, count: int = 20_000) -> Iterator[bytes]:
    """`begin`, and `piece` again and again, in writes of some size."""
    yield begin
    at_once = max(1, 16_384 // len(piece))
    for _ in range(count // at_once + 1):
        yield piece * at_once


def by_number(make: Callable[[int], bytes], count: int = 5000) -> Iterator[bytes]:
    for first in range(0, count, 100):
        yield b"".join(make(2 * number + 1) for number in range(first, first + 100))


MANY_SETTINGS = struct.pack(">HL", 4, 1) * 2000
# An entry of 4,000 bytes, then thousands of references to it.
BOMB = b"\x82\x86\x84\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 12_000

FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset": lambda: by_number(lambda number: headers(number) + wire.rst_stream_frame(number, 8)),
    "made to reset": lambda: by_number(lambda number: headers(number) + wire.window_update_frame(number, 0)),
    "too many streams": lambda: by_number(lambda number: headers(number, False, POST)),
    "continuation": lambda: over(wire.frame_head(0, wire.HEADERS, 0, 1), wire.frame_head(0, wire.CONTINUATION, 0, 1)),
    "large continuation": lambda: over(
        wire.frame_head(0, wire.HEADERS, 0, 1), wire.frame_head(16_384, wire.CONTINUATION, 0, 1) + b"\x00" * 16_384
    ),
    "settings": lambda: over(b"", wire.settings_frame({4: 1})),
    "large settings": lambda: over(b"", wire.frame_head(len(MANY_SETTINGS), wire.SETTINGS, 0, 0) + MANY_SETTINGS),
    "settings ack": lambda: over(b"", wire.SETTINGS_ACK),
    "ping": lambda: over(b"", PING),
    "ping ack": lambda: over(b"", wire.ping_frame(b"12345678", wire.ACK)),
    "empty data": lambda: over(headers(1, False, POST), wire.frame_head(0, wire.DATA, 0, 1)),
    "padding": lambda: over(headers(1, False, POST), wire.frame_head(2, wire.DATA, wire.PADDED, 1) + b"\x01\x00"),
    "window update": lambda: over(headers(1, False, POST), wire.window_update_frame(0, 1)),
    "window update of a stream": lambda: over(headers(1, False, POST), wire.window_update_frame(1, 1)),
    "priority": lambda: over(b"", wire.frame_head(5, wire.PRIORITY, 0, 1) + b"\x00\x00\x00\x03\x01"),
    "goaway": lambda: over(b"", wire.goaway_frame(0, 0, "")),
    "unknown frames": lambda: over(b"", wire.frame_head(0, 0xFA, 0, 0)),
    "hpack bomb": lambda: over(b"", headers(1, True, BOMB), 1),
}


async def never(call: Call) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def attacked(*arguments: str) -> AsyncIterator[tuple[Command, Memory]]:
    """A sidecar before a server that never answers, warm."""
    async with (
        h2_server(never) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp", *arguments) as sidecar,
    ):
        # What is loaded at first use is no growth.
        assert await attack(sidecar.port("inbound"), FLOODS["ping"]()) == CALM
        assert await attack(sidecar.port("inbound"), FLOODS["rapid reset"]()) == CALM
        async with memory_of(sidecar) as memory:
            yield sidecar, memory


async def test_floods_of_a_client_end_in_enhance_your_calm_and_memory_is_flat() -> None:
    async with attacked() as (sidecar, memory):
        codes = {name: await attack(sidecar.port("inbound"), flood()) for name, flood in FLOODS.items()}
        assert codes == dict.fromkeys(FLOODS, CALM)
        assert memory.growth < FLAT_BYTES
        assert b"Traceback" not in sidecar.errors


async def test_floods_at_once_and_again_leave_nothing_behind() -> None:
    async with attacked() as (sidecar, memory):
        for name in ("rapid reset", "continuation", "hpack bomb", "large continuation") * 5:
            codes = await asyncio.gather(*(attack(sidecar.port("inbound"), FLOODS[name]()) for _ in range(10)))
            assert set(codes) <= {CALM}
        assert memory.growth < 2 * FLAT_BYTES


async def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    """PING, with a byte of data now and then so that it passes for honest, by a client that reads nothing."""
    async with attacked() as (sidecar, memory):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", sidecar.port("inbound")))
            sock.settimeout(DEADLINE_S)
            sock.sendall(PREFACE + wire.settings_frame({}) + headers(1, False, POST))
            burst = (PING * 500 + wire.frame_head(1, wire.DATA, 0, 1) + b"x") * 10
            sent = 0
            with pytest.raises(ConnectionError):  # noqa: PT012
                while sent < 200 * MEBIBYTE:
                    sock.sendall(burst)
                    sent += len(burst)
                    # Its server never reads: keep to the window.
                    assert sent // len(burst) * 10 < 60_000
                    await asyncio.sleep(0)
        assert memory.growth < FLAT_BYTES


async def test_a_head_over_the_limit_costs_its_sender_that_request() -> None:
    async def greet(call: Call) -> None:
        call.send_headers([(b":status", b"200")], end=True)

    async with (
        h2_server(greet) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        many = [(b"x-%d" % number, b"v") for number in range(101)]
        large = [(b"x-%d" % number, b"v" * 7000) for number in range(10)]
        for fields in (many, large):
            assert (await client.request(request_headers("GET", "/", *fields)).finish()).status == 431
        assert (await client.request(request_headers("GET", "/" + "a" * 8200)).finish()).status == 414
        assert (await client.request(request_headers()).finish()).status == 200


# what waits for who does not read

STREAMS = 99
"""Of the hundred that a client may have open; one is left to ask by."""
PER_STREAM_BYTES = 256 * 1024


@asynccontextmanager
async def warm(call_of: Callable[[Call], object]) -> AsyncIterator[tuple[Command, Memory]]:
    async def serve(call: Call) -> None:
        if call.field(b":path") == b"/ping":
            call.send_headers([(b":status", b"204")], end=True)
            return
        if call.field(b":path") == b"/warm":
            await call.finish()
            call.send_headers([(b":status", b"200")])
            await call.send_data(bytes(MEBIBYTE), end=True)
            return
        outcome = call_of(call)
        if asyncio.iscoroutine(outcome):
            await outcome

    async with (
        h2_server(serve) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        async with h2_client(sidecar.port("inbound")) as client:
            for _ in range(3):
                call = client.request(request_headers("POST", "/warm"), end=False)
                await call.send_data(bytes(MEBIBYTE), end=True)
                await call.finish()
        async with memory_of(sidecar) as memory:
            yield sidecar, memory


async def until_stuck(calls: list[Call], client: Peer) -> None:
    """Until none of `calls` may send, and a round trip later still none has."""
    async with asyncio.timeout(DEADLINE_S):
        sent = -1
        while len(calls) < STREAMS or sum(call.sent for call in calls) != sent or any(call.room for call in calls):
            sent = sum(call.sent for call in calls)
            await client.ping()
            assert (await client.request(request_headers(path="/ping")).finish()).status == 204


async def test_a_client_that_reads_nothing_costs_little_a_stream() -> None:
    """Zero-window hoarding: a hundred large answers asked for, and no window to send any of them."""
    calls: list[Call] = []

    async def serve(call: Call) -> None:
        calls.append(call)
        call.send_headers([(b":status", b"200")])
        await call.send_data(bytes(MEBIBYTE))

    async with warm(serve) as (sidecar, memory):
        async with h2_client(sidecar.port("inbound"), {SettingCodes.INITIAL_WINDOW_SIZE: 0}) as client:
            client.connection.increment_flow_control_window(2**24)
            asked = [client.request(request_headers()) for _ in range(STREAMS)]
            await until_stuck(calls, client)
            assert [call.size for call in asked] == [0] * STREAMS
        assert max(call.sent for call in calls) < PER_STREAM_BYTES
        assert memory.growth / STREAMS < PER_STREAM_BYTES


async def test_a_server_that_reads_nothing_costs_little_a_stream() -> None:
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        call.reads = call.keeps = False
        seen.append(call)
        await call.finish()

    async def send(call: Call) -> None:
        with contextlib.suppress(ConnectionError):
            await call.send_data(bytes(MEBIBYTE))

    async with warm(serve) as (sidecar, memory):
        async with h2_client(sidecar.port("inbound")) as client:
            asked = [client.request(request_headers("POST"), end=False) for _ in range(STREAMS)]
            sending = [asyncio.create_task(send(call)) for call in asked]
            await until_stuck(asked, client)
            assert max(call.sent for call in asked) < PER_STREAM_BYTES
        await asyncio.gather(*sending)
        assert memory.growth / STREAMS < PER_STREAM_BYTES


async def test_a_body_in_pieces_of_two_bytes_costs_no_more() -> None:
    """To a server that reads nothing, 64 KiB a stream in the smallest of frames."""
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        call.reads = call.keeps = False
        seen.append(call)
        await call.finish()

    streams = 40
    async with warm(serve) as (sidecar, memory):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        writer.write(PREFACE + wire.settings_frame({}))
        for number in range(1, 2 * streams, 2):
            body = (wire.frame_head(2, wire.DATA, 0, number) + b"ab") * 32_000
            await send_all(writer, (headers(number, False, POST), body))
        writer.write(PING)
        async with asyncio.timeout(DEADLINE_S):
            while (head := await reader.readexactly(9))[3:5] != bytes((wire.PING, wire.ACK)):
                await reader.readexactly(int.from_bytes(head[:3], "big"))
        await until(lambda: len(seen) == streams)
        writer.close()
        assert memory.growth / streams < PER_STREAM_BYTES


# servers that mean harm

ANSWER = b"\x88"


SERVER_FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "continuation": FLOODS["continuation"],
    "large continuation": FLOODS["large continuation"],
    "settings": FLOODS["settings"],
    "large settings": FLOODS["large settings"],
    "ping": FLOODS["ping"],
    "window update": lambda: over(b"", wire.window_update_frame(0, 1)),
    "empty data": lambda: over(headers(1, False, ANSWER), wire.frame_head(0, wire.DATA, 0, 1)),
    "informational": lambda: over(b"", headers(1, False, b"\x08\x03103")),
    "hpack bomb": lambda: over(b"", headers(1, True, ANSWER + BOMB[3:]), 1),
}


@pytest.mark.parametrize("name", SERVER_FLOODS)
async def test_floods_of_a_server_end_its_connection(name: str) -> None:
    codes: list[int | None] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(wire.settings_frame({}) + wire.SETTINGS_ACK)
        # The request is there when its HEADERS are: the first frame on a stream.
        while (head := await reader.readexactly(9))[5:] == bytes(4):
            await reader.readexactly(int.from_bytes(head[:3], "big"))
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        reading = asyncio.create_task(goaway_code(reader))
        await send_all(writer, SERVER_FLOODS[name]())
        codes.append(await reading)

    async with (
        running_raw_server(converse) as port,
        running_sidecar(f"127.0.0.1:{port}", "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
        memory_of(sidecar) as memory,
    ):
        call = await client.request(request_headers("POST")).finish()
        assert call.status in (200, 502, 503)
        assert call.reset_code is not None or call.status != 200
        await until(lambda: bool(codes))
        assert codes[0] == CALM
        assert memory.growth < FLAT_BYTES
