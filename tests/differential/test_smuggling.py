"""Request smuggling, class by class, over real sockets: refused, the connection closed, nothing forwarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamReset

from tests.differential.corpus import ATTACKS, HTTP2_ATTACKS, SMUGGLED
from tests.differential.proxies import Lane, our_lanes
from tests.differential.upstream import Recorder
from tests.support.process import running_sidecar

DEADLINE_S = 20
CLOSE_DEADLINE_S = 5
OPEN = b"the connection stays open after: "


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    async with our_lanes(1) as (only,):
        yield only


async def answer_of(lane: Lane, data: bytes) -> bytes:
    """All that comes back until the other side closes; OPEN when it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    answer = b""
    try:
        writer.write(data)
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            while chunk := await reader.read(65536):
                answer += chunk
    except TimeoutError:
        return OPEN + answer
    finally:
        writer.transport.abort()
    return answer


def is_refusal(answer: bytes) -> bool:
    """One answer, 400 or 501, that says that the connection closes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[:12]
    closes = b"\r\nConnection: close" in head
    return status in (b"HTTP/1.1 400", b"HTTP/1.1 501") and closes and b"HTTP/1.1 2" not in body


@pytest.mark.parametrize("kind", ATTACKS)
async def test_a_class_of_attacks_is_refused(lane: Lane, kind: str) -> None:
    passed = []
    for name, data in ATTACKS[kind].items():
        lane.upstream.clear()
        answer = await answer_of(lane, data + SMUGGLED)
        if lane.upstream.whole or not is_refusal(answer):
            passed.append((name, [str(seen) for seen in lane.upstream.seen], answer[:200]))
    assert not passed


async def ask_by_http2(lane: Lane, fields: tuple[tuple[bytes, bytes], ...]) -> list[Event]:
    """The events of a stream that opens with `fields`, until it or the connection ends."""
    config = H2Configuration(
        client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    peer = H2Connection(config)
    peer.initiate_connection()
    peer.send_headers(1, list(fields), end_stream=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    events: list[Event] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not any(isinstance(event, StreamReset | ConnectionTerminated | ResponseReceived) for event in events):
                writer.write(peer.data_to_send())
                data = await reader.read(65536)
                if not data:
                    break
                events += peer.receive_data(data)
    finally:
        writer.transport.abort()
    return events


async def test_http2_requests_without_a_place_in_http1_are_refused(lane: Lane) -> None:
    passed = []
    for name, fields in HTTP2_ATTACKS.items():
        lane.upstream.clear()
        events = await ask_by_http2(lane, fields)
        if lane.upstream.seen or lane.upstream.broken or any(isinstance(event, ResponseReceived) for event in events):
            passed.append((name, lane.upstream.seen, lane.upstream.broken, events[-1]))
    assert not passed


async def test_a_running_sidecar_refuses_them_and_says_nothing_of_a_failure() -> None:
    upstream = Recorder()
    await upstream.start()
    try:
        async with running_sidecar(f"127.0.0.1:{upstream.port}", "--health", "tcp") as sidecar:
            lane = Lane(sidecar.port("inbound"), upstream)
            for attacks in ATTACKS.values():
                for data in list(attacks.values())[:2]:
                    assert is_refusal(await answer_of(lane, data + SMUGGLED))
            assert not upstream.seen
            assert b"Traceback" not in sidecar.errors
    finally:
        await upstream.stop()
