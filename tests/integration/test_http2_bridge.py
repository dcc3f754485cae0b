"""HTTP/1.1 on one side of a sidecar and HTTP/2 on the other, to the byte where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.backend import running_backend, running_raw_server
from tests.support.h2_peer import Call, Peer, Serve, h2_client, h2_server, request_headers
from tests.support.process import running_sidecar

DEADLINE_S = 20
OK = [(b":status", b"200")]
BODY = bytes(range(256)) * 2000
Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Lines:
    """A client of HTTP/1.1 that sends what it is told, and takes answers apart by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> list[bytes]:
        """The lines of the next head."""
        async with asyncio.timeout(DEADLINE_S):
            return (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(size)

    async def chunks(self) -> tuple[bytes, list[bytes]]:
        """The body of a chunked message, and the lines of its trailers."""
        body = b""
        async with asyncio.timeout(DEADLINE_S):
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            trailers = []
            while line := (await self.reader.readuntil(b"\r\n"))[:-2]:
                trailers.append(line)
        return body, trailers

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()


@asynccontextmanager
async def up(serve: Serve) -> AsyncIterator[Lines]:
    """An HTTP/1.1 client of a sidecar before an HTTP/2 server."""
    async with (
        h2_server(serve) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port("inbound"))
        try:
            yield Lines(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def down(converse: Converse, settings: dict[SettingCodes | int, int] | None = None) -> AsyncIterator[Peer]:
    """An HTTP/2 client of a sidecar before an HTTP/1.1 server."""
    async with (
        running_raw_server(converse) as port,
        running_sidecar(f"127.0.0.1:{port}", "--protocol", "http1", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound"), settings) as client,
    ):
        yield client


def fields_of(lines: list[bytes], name: bytes) -> list[bytes]:
    return [line.partition(b": ")[2] for line in lines[1:] if line.lower().startswith(name + b":")]


# HTTP/1.1 → HTTP/2


async def test_up_chunked_bodies_and_trailers_go_both_ways() -> None:
    async def serve(call: Call) -> None:
        await call.finish()
        assert call.field(b"transfer-encoding") is None
        assert call.trailers == [(b"x-sum", b"1")]
        call.send_headers(OK)
        await call.send_data(call.data)
        call.send_headers([(b"x-sum", b"2")], end=True)

    async with up(serve) as client:
        for _ in range(2):
            client.send(
                b"POST / HTTP/1.1\r\nHost: app\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
            )
            for offset in range(0, len(BODY), 10_000):
                piece = BODY[offset : offset + 10_000]
                client.send(b"%x;a=b\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\nX-Sum: 1\r\n\r\n")
            head = await client.head()
            assert head[0] == b"HTTP/1.1 200 OK"
            assert fields_of(head, b"transfer-encoding") == [b"chunked"]
            assert await client.chunks() == (BODY, [b"x-sum: 2"])


async def test_up_fields_of_the_connection_stay_and_repeated_ones_stay_apart() -> None:
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        seen.append(call)
        cookies = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2, c"), (b"set-cookie", b"a=1; Path=/")]
        call.send_headers([*OK, *cookies, (b"content-length", b"2")])
        await call.send_data(b"ok", end=True)

    async with up(serve) as client:
        client.send(
            b"GET /a?b HTTP/1.1\r\nHost: App:80\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
            b"TE: gzip\r\nProxy-Connection: x\r\nCookie: a=1; b=2\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
        )
        head = await client.head()
        assert fields_of(head, b"set-cookie") == [b"a=1; Path=/", b"b=2, c", b"a=1; Path=/"]
        assert await client.rest() == b"ok"
    (call,) = seen
    names = [name for name, _ in call.headers]
    assert not {b"host", b"connection", b"x-hop", b"keep-alive", b"te", b"proxy-connection"} & set(names)
    assert [value for name, value in call.headers if name == b"x-two"] == [b"1", b"2"]
    assert (call.field(b":authority"), call.field(b":path"), call.field(b"cookie")) == (b"App:80", b"/a?b", b"a=1; b=2")


async def test_up_head_has_a_length_and_no_body() -> None:
    async def serve(call: Call) -> None:
        call.send_headers([*OK, (b"content-length", b"1234")], end=call.field(b":method") == b"HEAD")
        if call.field(b":method") != b"HEAD":
            await call.send_data(b"x" * 1234, end=True)

    async with up(serve) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: app\r\n\r\nGET / HTTP/1.1\r\nHost: app\r\n\r\n")
        assert fields_of(await client.head(), b"content-length") == [b"1234"]
        assert fields_of(await client.head(), b"content-length") == [b"1234"]
        assert await client.exactly(1234) == b"x" * 1234


async def test_up_100_continue_comes_from_the_server() -> None:
    go_on = asyncio.Event()

    async def serve(call: Call) -> None:
        assert call.field(b"expect") == b"100-continue"
        call.send_headers([(b":status", b"103"), (b"link", b"</a>")])
        await go_on.wait()
        call.send_headers([(b":status", b"100")])
        await call.finish()
        call.send_headers(OK)
        await call.send_data(call.data, end=True)

    async with up(serve) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert (await client.head())[0].startswith(b"HTTP/1.1 103")
        go_on.set()
        assert (await client.head())[0] == b"HTTP/1.1 100 Continue"
        client.send(b"body")
        await client.head()
        assert await client.chunks() == (b"body", [])


async def test_up_an_early_answer_ends_the_request() -> None:
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        seen.append(call)
        call.send_headers([(b":status", b"413"), (b"content-length", b"3")])
        await call.send_data(b"big", end=True)

    async with up(serve) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000000\r\n\r\nbegun")
        assert (await client.head())[0].startswith(b"HTTP/1.1 413")
        assert await client.exactly(3) == b"big"
        await seen[0].until(lambda: seen[0].reset_code is not None)


async def test_up_a_reset_within_the_answer_breaks_the_connection_off() -> None:
    async def serve(call: Call) -> None:
        call.send_headers(OK)
        await call.send_data(b"half")
        call.reset(ErrorCodes.INTERNAL_ERROR)

    async with up(serve) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        await client.head()
        assert await client.rest() == b"4\r\nhalf\r\n"


async def test_up_a_client_that_leaves_is_a_reset_to_the_server() -> None:
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        seen.append(call)
        call.send_headers(OK)
        await call.send_data(b"there")
        await call.finish()

    async with up(serve) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf")
        await client.head()
        client.writer.close()
        await seen[0].until(lambda: seen[0].reset_code is not None)
        assert seen[0].reset_code == ErrorCodes.CANCEL
        assert (seen[0].data, seen[0].ended) == (b"half", False)


# HTTP/2 → HTTP/1.1


async def test_down_bodies_of_unknown_length_are_chunked_and_trailers_go_both_ways() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Lines(reader, writer)
        while True:
            head = await server.head()
            assert head[0] == b"POST / HTTP/1.1"
            assert fields_of(head, b"host") == [b"app"]
            assert fields_of(head, b"transfer-encoding") == [b"chunked"]
            body, trailers = await server.chunks()
            assert trailers == [b"x-sum: 1"]
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            for offset in range(0, len(body), 7000):
                piece = body[offset : offset + 7000]
                writer.write(b"%X\r\n%b\r\n" % (len(piece), piece))
            writer.write(b"0\r\nX-Sum: 2\r\n\r\n")

    async with down(converse) as client:
        for _ in range(2):
            call = client.request(request_headers("POST", "/", (b"te", b"trailers")), end=False)
            await call.send_data(BODY)
            call.send_headers([(b"x-sum", b"1")], end=True)
            await call.finish()
            assert (call.status, call.data, call.trailers) == (200, BODY, [(b"x-sum", b"2")])
            assert call.field(b"transfer-encoding") is None


async def test_down_cookie_crumbs_become_one_line_and_set_cookie_stays_apart() -> None:
    heads: list[list[bytes]] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await Lines(reader, writer).head())
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2, c\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with down(converse) as client:
        crumbs = [(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2; c=3"), (b"cookie", b"d=4")]
        call = await client.request(request_headers("GET", "/", *crumbs)).finish()
        assert fields_of(heads[0], b"cookie") == [b"a=1; b=2; c=3; d=4"]
        assert [value for name, value in call.headers if name == b"set-cookie"] == [b"a=1", b"b=2, c"]


@pytest.mark.parametrize(
    ("method", "answer", "status", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, b"1234"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n", 304, b"1234"),
    ],
)
async def test_down_answers_without_a_body(method: str, answer: bytes, status: int, length: bytes | None) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await Lines(reader, writer).head()
            writer.write(answer)

    async with down(converse) as client:
        for _ in range(3):
            call = await client.request(request_headers(method)).finish()
            assert (call.status, call.field(b"content-length"), call.data, call.ended) == (status, length, b"", True)


async def test_down_informational_answers_and_100_continue() -> None:
    go_on = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await Lines(reader, writer).head()
        assert fields_of(head, b"expect") == [b"100-continue"]
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await go_on.wait()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(4) == b"body"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    async with down(converse) as client:
        fields = ((b"expect", b"100-continue"), (b"content-length", b"4"))
        call = client.request(request_headers("POST", "/", *fields), end=False)
        await call.until(lambda: len(call.informational) == 1)
        go_on.set()
        await call.until(lambda: len(call.informational) == 2)
        assert [dict(head)[b":status"] for head in call.informational] == [b"103", b"100"]
        await call.send_data(b"body", end=True)
        assert (await call.finish()).data == b"ok"


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_down_an_answer_that_breaks_off_is_a_reset(framing: bytes) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Lines(reader, writer).head()
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhalf!\r\n")

    async with down(converse) as client:
        call = await client.request(request_headers()).finish()
        assert (call.status, call.ended, call.reset_code) == (200, False, ErrorCodes.INTERNAL_ERROR)


async def test_down_an_answer_that_ends_with_its_connection_is_whole() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Lines(reader, writer).head()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)

    async with down(converse) as client:
        call = await client.request(request_headers()).finish()
        assert (call.data, call.ended) == (BODY, True)


async def test_down_a_reset_by_the_client_closes_the_connection_upstream() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Lines(reader, writer).head()
        begun.set()
        await reader.read()
        gone.set()

    async with down(converse) as client:
        call = client.request(request_headers())
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
            call.reset()
            await gone.wait()


async def test_down_an_early_answer_stops_the_request() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Lines(reader, writer).head()
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        # Closed with the request unread, TCP itself would take the answer back.
        while await reader.read(2**20):
            pass

    async with down(converse) as client:
        call = client.request(request_headers("POST"), end=False)
        with pytest.raises(ConnectionError):
            await call.send_data(BODY * 100)
        assert (call.status, call.data, call.ended) == (413, b"big", True)


async def test_down_frames_are_as_large_as_the_peer_allows() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await Lines(reader, writer).head()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)

    window = {SettingCodes.INITIAL_WINDOW_SIZE: 2**20}
    async with down(converse, dict(window)) as client:
        client.connection.increment_flow_control_window(2**24)
        sizes = []
        for largest in (16_384, 2**20, 16_384):
            client.change({SettingCodes.MAX_FRAME_SIZE: largest})
            await client.ping()
            call = await client.request(request_headers()).finish()
            assert call.data == BODY
            sizes.append(call.largest_frame)
        assert sizes[0] == sizes[2] == 16_384
        assert sizes[1] > 16_384


async def test_down_many_at_once_share_few_connections_one_after_another() -> None:
    """100 streams at once to a server that takes one request at a time on a connection: each gets its own answer."""

    async def script(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read() + request.path.encode())

    async with (
        running_backend(script) as backend,
        running_sidecar(backend.address, "--protocol", "http1", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        calls = []
        for number in range(100):
            call = client.request(request_headers("PUT", f"/{number}"), end=False)
            await call.send_data(b"%d" % number * 100, end=True)
            calls.append(call)
        for number, call in enumerate(calls):
            assert (await call.finish()).data == b"%d" % number * 100 + b"/%d" % number
