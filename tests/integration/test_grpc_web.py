"""gRPC-Web before a grpcio server: asked over HTTP/1.1 by aiohttp, over HTTP/2 by h2, with frames written and read here
as gRPC's doc/PROTOCOL-WEB.md has them."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.grpc_app import running_grpc
from tests.support.grpc_frames import framed, frames
from tests.support.library import Library, types
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar

TIMEOUT = aiohttp.ClientTimeout(20)
BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"
GET_MESSAGE = "/library.v1.Messaging/GetMessage"
LIST_BOOKS = "/library.v1.Library/ListBooks"
FAIL = "/library.v1.Library/Fail"

Answer = tuple[list[bytes], dict[str, str]]
"""(messages, trailers)."""


def parse(body: bytes) -> Answer:
    """An answer's body; the trailers' frame is the last, once."""
    found = list(frames(body))
    assert [flag for flag, _ in found] == [0] * (len(found) - 1) + [0x80]
    lines = found[-1][1].decode().split("\r\n")
    assert lines.pop() == ""
    return [message for _, message in found[:-1]], dict(line.split(": ", 1) for line in lines)


def from_text(body: bytes) -> bytes:
    """Base64, padded after any group, as grpc-web's own reader takes it."""
    return b"".join(base64.b64decode(body[at : at + 4], validate=True) for at in range(0, len(body), 4))


class Caller:
    def __init__(self, session: aiohttp.ClientSession, sidecar: Command, app: Library) -> None:
        self.session = session
        self.sidecar = sidecar
        self.app = app

    def post(self, path: str, body: Any, kind: str = BINARY, **headers: str) -> Any:
        fields = {"content-type": kind, "x-grpc-web": "1", **headers}
        return self.session.post(self.sidecar.url("inbound") + path, data=body, headers=fields, timeout=TIMEOUT)

    async def call(self, path: str, message: bytes, kind: str = BINARY, **headers: str) -> Answer:
        body = framed(message)
        is_text = "-text" in kind
        async with self.post(path, base64.b64encode(body) if is_text else body, kind, **headers) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, kind)
            data = await answer.read()
            return parse(from_text(data) if is_text else data)


@asynccontextmanager
async def calling(*flags: str) -> AsyncIterator[Caller]:
    app = Library()
    async with running_grpc(app) as address:
        async with (
            running_sidecar(address, "--protocol", "grpc", *flags) as sidecar,
            aiohttp.ClientSession() as session,
        ):
            yield Caller(session, sidecar, app)


def asking(name: str) -> bytes:
    return bytes(types()["GetMessageRequest"](message_id=name).SerializeToString())


def listing(count: int, fail_after: int = 0, title_bytes: int = 0) -> bytes:
    request = types()["ListBooksRequest"](
        parent="shelves/1", page_size=count, fail_after=fail_after, title_bytes=title_bytes
    )
    return bytes(request.SerializeToString())


def names(answer: Answer) -> list[str]:
    return [types()["Book"].FromString(message).name for message in answer[0]]


@pytest.mark.parametrize("kind", [BINARY, TEXT, "application/grpc-web", "application/grpc-web-text"])
async def test_unary_calls(kind: str) -> None:
    async with calling() as caller:
        body = framed(asking("m1"))
        sent = base64.b64encode(body) if "text" in kind else body
        async with caller.post(GET_MESSAGE, sent, kind) as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == (kind if kind.endswith("+proto") else f"{kind}+proto")
            assert answer.headers["x-library"] == "open"
            data = await answer.read()
        (message,), trailers = parse(from_text(data) if "text" in kind else data)
        assert types()["Message"].FromString(message).message_id == "m1"
        assert trailers["grpc-status"] == "0"


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_server_streams_come_message_by_message(kind: str) -> None:
    async with calling() as caller:
        answer = await caller.call(LIST_BOOKS, listing(300, title_bytes=3_000), kind)
        assert names(answer) == [f"shelves/1/books/{number}" for number in range(300)]
        answer = await caller.call(LIST_BOOKS, listing(5, fail_after=2), kind)
        assert (len(answer[0]), answer[1]["grpc-status"], answer[1]["grpc-message"]) == (2, "15", "the rest burnt")


async def test_the_first_message_does_not_wait_for_the_last() -> None:
    async with calling() as caller:
        async with caller.post(LIST_BOOKS, framed(listing(2_000_000_000))) as answer:
            async with asyncio.timeout(10):
                flag, length = struct.unpack(">BI", await answer.content.readexactly(5))
                assert flag == 0
                first = types()["Book"].FromString(await answer.content.readexactly(length))
        assert first.name == "shelves/1/books/0"


async def test_accept_asks_for_the_other_form() -> None:
    async with calling() as caller:
        async with caller.post(GET_MESSAGE, framed(asking("m")), BINARY, accept="application/grpc-web-text") as answer:
            assert answer.headers["content-type"] == TEXT
            assert parse(from_text(await answer.read()))[1]["grpc-status"] == "0"
        body = base64.b64encode(framed(asking("m")))
        async with caller.post(GET_MESSAGE, body, TEXT, accept="application/grpc-web") as answer:
            assert answer.headers["content-type"] == BINARY
            assert parse(await answer.read())[1]["grpc-status"] == "0"


async def test_failures_without_a_message_are_in_the_head() -> None:
    async with calling() as caller:
        request = types()["FailRequest"](code=7, message="für dich")
        async with caller.post(FAIL, framed(request.SerializeToString())) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert (answer.headers["grpc-status"], answer.headers["grpc-message"]) == ("7", "f%C3%BCr dich")
            assert answer.headers["grpc-status-details-bin"]
        async with caller.post("/no.Such/Method", framed(b"")) as answer:
            assert answer.headers["grpc-status"] == "12"


async def test_failures_of_the_mesh_are_grpc_statuses() -> None:
    async with running_sidecar(f"127.0.0.1:{free_port()}", "--protocol", "grpc") as sidecar:
        async with aiohttp.ClientSession() as session:
            body = base64.b64encode(framed(b""))
            async with Caller(session, sidecar, Library()).post(GET_MESSAGE, body, TEXT) as answer:
                assert (answer.status, answer.headers["content-type"]) == (200, TEXT)
                assert (answer.headers["grpc-status"], answer.headers["x-mesh-error"]) == ("14", "connect_failure")


async def test_an_app_that_is_no_grpc_is_told() -> None:
    async with running_no_grpc() as address, running_sidecar(address, "--protocol", "grpc") as sidecar:
        async with aiohttp.ClientSession() as session:
            async with Caller(session, sidecar, Library()).post(GET_MESSAGE, framed(b"")) as answer:
                assert (answer.status, answer.headers["grpc-status"]) == (200, "12")
                assert "does it speak gRPC on this port?" in answer.headers["grpc-message"]


@asynccontextmanager
async def running_no_grpc() -> AsyncIterator[str]:
    """An HTTP/2 server that answers all with 404 and text."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.stream_id is not None
                    connection.send_headers(event.stream_id, [(":status", "404"), ("content-type", "text/plain")])
                    connection.send_data(event.stream_id, b"nothing here", end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize("body", [b"not base64!!", b"AAAAAAA=A", b"AAAAA"])
async def test_text_that_is_not_base64_is_an_invalid_argument(body: bytes) -> None:
    async with calling() as caller:
        async with caller.post(GET_MESSAGE, body, TEXT) as answer:
            assert (answer.status, answer.headers["grpc-status"]) == (200, "3")
            assert "base64" in answer.headers["grpc-message"]


async def test_text_may_be_cut_and_padded_anywhere() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        message = framed(asking("m2"))
        text = base64.b64encode(message[:7]) + base64.b64encode(message[7:])
        for at in range(0, len(text), 3):
            yield text[at : at + 3]
            await asyncio.sleep(0)

    async with calling() as caller:
        async with caller.post(GET_MESSAGE, pieces(), TEXT) as answer:
            (message,), _ = parse(from_text(await answer.read()))
        assert types()["Message"].FromString(message).message_id == "m2"


async def test_metadata_and_deadline_go_along() -> None:
    async with calling() as caller:
        await caller.call(GET_MESSAGE, asking("m"), **{"authorization": "Bearer t", "grpc-timeout": "5S"})
        seen = caller.app.metadata
        assert seen["authorization"] == "Bearer t"
        assert "x-grpc-web" not in seen
        assert caller.app.time_left is not None
        assert 0 < caller.app.time_left <= 5


async def test_expect_is_answered_here() -> None:
    async with calling() as caller:
        url = caller.sidecar.url("inbound") + GET_MESSAGE
        headers = {"content-type": BINARY}
        body = framed(asking("m"))
        async with caller.session.post(url, data=body, headers=headers, expect100=True, timeout=TIMEOUT) as answer:
            assert parse(await answer.read())[1]["grpc-status"] == "0"


async def test_pages_of_named_origins_may_call() -> None:
    async with calling("--cors-origin", "https://shop.example") as caller:
        url = caller.sidecar.url("inbound") + GET_MESSAGE
        asks = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-grpc-web",
        }
        async with caller.session.options(url, headers=asks, timeout=TIMEOUT) as answer:
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["access-control-allow-headers"] == "content-type,x-grpc-web"
        async with caller.session.options(url, headers={**asks, "Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
        for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
            async with caller.post(GET_MESSAGE, framed(asking("m")), origin=origin) as answer:
                assert answer.headers.get("access-control-allow-origin") == allowed
                assert answer.headers.get("access-control-expose-headers") == (allowed and "*")


async def test_over_http2() -> None:
    async with calling() as caller:
        for path, request, expected in ((GET_MESSAGE, asking("m3"), 1), (LIST_BOOKS, listing(50), 50)):
            head, body = await _ask_http2(caller.sidecar.address("inbound"), path, framed(request))
            assert (head[":status"], head["content-type"]) == ("200", BINARY)
            messages, trailers = parse(body)
            assert (len(messages), trailers["grpc-status"]) == (expected, "0")


async def _ask_http2(address: str, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a", "content-type": BINARY}
    connection.send_headers(1, list(fields.items()))
    connection.send_data(1, body, end_stream=True)
    writer.write(connection.data_to_send())
    head: dict[str, str] = {}
    answer = b""
    async with asyncio.timeout(20):
        while True:
            for event in connection.receive_data(await reader.read(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    head = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.TrailersReceived):
                    raise AssertionError("browsers see no trailers")
                elif isinstance(event, h2.events.StreamEnded):
                    writer.close()
                    return head, answer
            writer.write(connection.data_to_send())
