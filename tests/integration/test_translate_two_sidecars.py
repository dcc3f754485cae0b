"""JSON and gRPC-Web through two sidecars: the caller's passes them on, the one before the app makes gRPC of them."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support import library
from tests.support.grpc_app import running_grpc
from tests.support.grpc_frames import framed
from tests.support.library import Library, types
from tests.support.memory import memory_of
from tests.support.mesh import Row, metric, running_row
from tests.support.streams import clients

DEADLINE_S = 20
GRPC_WEB = {"content-type": "application/grpc-web+proto"}
ENDLESS = 2_000_000_000
CONNECTIONS = 64
"""So many that what the allocator does for one of them does not decide."""
PER_CONNECTION_BYTES = 256 * 1024
QUIET_LOOKS = 5
"""So often in a row no message has come any more: all is full."""
BETWEEN = pytest.mark.parametrize("between", ["http1", "h2", "grpc"])
"""`grpc` is what a sidecar before such an app registers."""


@asynccontextmanager
async def calling(
    tmp_path: Path, between: str, deadline_s: float = DEADLINE_S
) -> AsyncIterator[tuple[aiohttp.ClientSession, Row]]:
    """A client of the caller's port; the app is a server of grpcio."""
    own = ("--grpc-json", str(library.descriptor_set()))
    async with (
        running_grpc(Library()) as app,
        running_row(app, tmp_path, "grpc", between=between, callee=own) as row,
        aiohttp.ClientSession(f"http://127.0.0.1:{row.port}") as session,
        asyncio.timeout(deadline_s),
    ):
        yield session, row


@BETWEEN
async def test_json_is_a_call_of_grpc_to_the_app_alone(tmp_path: Path, between: str) -> None:
    async with calling(tmp_path, between) as (session, row):
        async with session.patch("/v1/messages/1", json={"text": "Hi!"}) as answer:
            assert (answer.status, (await answer.json())["text"]) == (200, "Hi!")
        async with session.get("/v1/fail/5?message=none") as answer:
            failed = await answer.json()
            assert (answer.status, failed["code"], failed["message"]) == (404, 5, "none")
        outer = {"direction": "outbound", "flag": ""}
        assert await metric(row.caller, "mesh_requests_total", method="PATCH", status="2xx", **outer) == 1
        assert await metric(row.caller, "mesh_requests_total", method="GET", status="4xx", **outer) == 1
        inner = {"direction": "inbound", "method": "/library.v1.Messaging/UpdateMessage"}
        assert await metric(row.callee, "mesh_requests_total", status="OK", **inner) == 1
        assert await metric(row.callee, "mesh_grpc_messages_total", **inner) == 2


@BETWEEN
async def test_the_first_line_of_a_stream_does_not_wait_for_the_last(tmp_path: Path, between: str) -> None:
    """The app would go on for hours; it is cancelled when the client goes."""
    async with calling(tmp_path, between) as (session, row):
        async with session.get(f"/v1/shelves/1/books?pageSize={ENDLESS}") as answer:
            for number in range(3):
                line = json.loads(await answer.content.readline())
                assert line["result"]["name"] == f"shelves/1/books/{number}"
        while not await metric(row.callee, "mesh_requests_total", flag="DC"):
            await asyncio.sleep(0.02)


@BETWEEN
async def test_grpc_web_comes_message_by_message_and_ends_with_its_trailers(tmp_path: Path, between: str) -> None:
    async with calling(tmp_path, between) as (session, _):
        for count, status in ((3, 0), (ENDLESS, None)):
            request = types()["ListBooksRequest"](parent="shelves/1", page_size=count).SerializeToString()
            path = "/library.v1.Library/ListBooks"
            async with session.post(path, data=framed(request), headers=GRPC_WEB) as answer:
                assert answer.headers["content-type"] == GRPC_WEB["content-type"]
                for number in range(3):
                    flag, length = struct.unpack(">BI", await answer.content.readexactly(5))
                    book = types()["Book"].FromString(await answer.content.readexactly(length))
                    assert (flag, book.name) == (0, f"shelves/1/books/{number}")
                if status is not None:
                    flag, length = struct.unpack(">BI", await answer.content.readexactly(5))
                    trailers = await answer.content.readexactly(length)
                    assert (flag, f"grpc-status: {status}\r\n".encode() in trailers) == (0x80, True)
                    assert await answer.read() == b""


def stream_request(kind: str, title_bytes: int) -> bytes:
    """What asks for an endless stream of books."""
    if kind == "json":
        query = f"pageSize={ENDLESS}&titleBytes={title_bytes}"
        return f"GET /v1/shelves/1/books?{query} HTTP/1.1\r\nHost: app\r\n\r\n".encode()
    asked = types()["ListBooksRequest"](parent="shelves/1", page_size=ENDLESS, title_bytes=title_bytes)
    message = asked.SerializeToString()
    head = f"POST /library.v1.Library/ListBooks HTTP/1.1\r\nHost: app\r\nContent-Length: {len(message) + 5}\r\n"
    head += f"Content-Type: {GRPC_WEB['content-type']}\r\n\r\n"
    return head.encode() + struct.pack(">BI", 0, len(message)) + message


async def until_full(row: Row) -> None:
    """Until the sidecar before the app takes no more messages from it."""
    before, quiet = 0.0, 0
    while quiet < QUIET_LOOKS:
        taken = await metric(row.callee, "mesh_grpc_messages_total", way="response")
        quiet = quiet + 1 if taken == before > 0 else 0
        before = taken
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(("kind", "title_bytes"), [("json", 6_000), ("json", 100_000), ("web", 100_000)])
async def test_a_slow_reader_holds_the_app_back_and_costs_little(tmp_path: Path, kind: str, title_bytes: int) -> None:
    """Long messages become JSON in a thread, beside the loop."""

    async def load(row: Row, count: int) -> None:
        async with clients(row.port, count, stream_request(kind, title_bytes)) as opened:
            for reader, _ in opened:
                reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until_full(row)

    async with calling(tmp_path, "http1", deadline_s=60) as (_, row):
        # What is loaded, and allocated, at first use is no growth.
        await load(row, 2)
        async with memory_of(row.caller) as caller, memory_of(row.callee) as callee:
            await load(row, CONNECTIONS)
    growth = {"caller": caller.growth // CONNECTIONS, "callee": callee.growth // CONNECTIONS}
    assert max(growth.values()) < PER_CONNECTION_BYTES, growth
