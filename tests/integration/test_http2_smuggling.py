"""Requests and answers that an HTTP/1 peer behind a real sidecar could read in another way than we do."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from remora.sidecar.wire.http2 import frames as wire
from tests.differential.corpus import HTTP2_ATTACKS
from tests.support.backend import running_raw_server
from tests.support.h2_peer import Call, Headers, h2_client, h2_server, request_headers
from tests.support.process import running_sidecar

DEADLINE_S = 30


async def test_no_request_that_could_be_read_in_two_ways_is_forwarded() -> None:
    heard = bytearray()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            heard.extend(data)
            if data.endswith(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        running_raw_server(converse) as port,
        running_sidecar(f"127.0.0.1:{port}", "--protocol", "http1", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        await client.ping()
        # Twice: what was refused must not come from memory as good.
        for name, fields in [*HTTP2_ATTACKS.items(), *HTTP2_ATTACKS.items()]:
            call = await client.request(fields).finish()
            assert (name, call.reset_code) == (name, ErrorCodes.PROTOCOL_ERROR)
        assert heard == b""
        assert (await client.request(request_headers(path="/good")).finish()).status == 200
        assert heard.startswith(b"GET /good HTTP/1.1\r\n")
        assert heard.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(("promised", "sent"), [(5, b"1234"), (5, b"123456"), (0, b"1")])
async def test_a_body_of_another_length_than_promised_is_never_whole(promised: int, sent: bytes) -> None:
    heard = bytearray()
    gone = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        while data := await reader.read(65536):
            heard.extend(data)
        gone.set()

    async with (
        running_raw_server(converse) as port,
        running_sidecar(f"127.0.0.1:{port}", "--protocol", "http1", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        call = client.request(request_headers("POST", "/", (b"content-length", b"%d" % promised)), end=False)
        await call.send_data(sent, end=True)
        await call.finish()
        assert call.reset_code == ErrorCodes.PROTOCOL_ERROR
        if heard:
            await asyncio.wait_for(gone.wait(), DEADLINE_S)
        assert b"6" not in heard.partition(b"\r\n\r\n")[2]


ANSWERS: list[Headers] = [
    [(b":status", b"200"), (b"x-a", b"1\r\nx-evil: 1")],
    [(b":status", b"200"), (b"x-a\r\nx-evil", b"1")],
    [(b":status", b"200"), (b"x-a", b"1\x00")],
    [(b":status", b"200"), (b"transfer-encoding", b"chunked")],
    [(b":status", b"200"), (b"connection", b"close")],
    [(b":status", b"200"), (b"content-length", b"0"), (b"content-length", b"1")],
    [(b":status", b"200"), (b"content-length", b"5")],
    [(b":status", b"200 OK\r\nx-evil: 1")],
    [(b":status", b"099")],
    [(b":status", b"200"), (b":status", b"204")],
    [(b":status", b"200"), (b"X-A", b"1")],
    [(b"x-a", b"1")],
]


async def test_no_answer_that_could_be_read_in_two_ways_is_passed_on() -> None:
    answers = iter([*ANSWERS, *ANSWERS])

    async def serve(call: Call) -> None:
        call.send_headers(next(answers), end=True)

    async with (
        h2_server(serve) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        async with asyncio.timeout(DEADLINE_S):
            for fields in [*ANSWERS, *ANSWERS]:
                writer.write(b"POST / HTTP/1.1\r\nHost: app\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert (fields, head[:12]) == (fields, b"HTTP/1.1 502")
                assert b"evil" not in head
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_data_where_none_may_be_reaches_nobody(method: str) -> None:
    """DATA before HEADERS, and behind the answer to HEAD: an HTTP/1.1 client would take it for the next answer."""

    async def serve(call: Call) -> None:
        transport = call._peer.transport
        evil = b"HTTP/1.1 200 OK\r\nx-evil: 1\r\n\r\n"
        if method == "HEAD":
            call.send_headers([(b":status", b"200"), (b"content-length", b"%d" % len(evil))])
        transport.write(wire.frame_head(len(evil), wire.DATA, wire.END_STREAM, call.stream_id) + evil)

    async with (
        h2_server(serve) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        writer.write(method.encode() + b" / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        writer.close()
        if method == "GET":
            assert answer.startswith(b"HTTP/1.1 502")
        assert b"evil" not in answer
