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
from tests.support.grpc_frames import framed
from tests.support.library import Library, running_library, types
from tests.support.mesh import Row, metric, running_row

DEADLINE_S = 20
GRPC_WEB = {"content-type": "application/grpc-web+proto"}
ENDLESS = 2_000_000_000
BETWEEN = pytest.mark.parametrize("between", ["http1", "h2"])


@asynccontextmanager
async def calling(tmp_path: Path, between: str) -> AsyncIterator[tuple[aiohttp.ClientSession, Row]]:
    """A client of the caller's port; the app is a server of grpcio."""
    own = ("--grpc-json", str(library.descriptor_set()))
    async with (
        running_library(Library()) as app,
        running_row(app, tmp_path, "grpc", between=between, callee=own) as row,
        aiohttp.ClientSession(f"http://127.0.0.1:{row.port}") as session,
        asyncio.timeout(DEADLINE_S),
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
