"""HTTP/1.1 from end to end through two sidecars in a row, which speak HTTP/1.1 or HTTP/2 with each other.

h11 stands on both ends where the protocol is judged, curl, aiohttp and plain sockets elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest
from aiohttp import web

from tests.support import pairing
from tests.support.backend import running_backend, running_raw_server
from tests.support.inbound import raw_app
from tests.support.mesh import Row, running_row

DEADLINE_S = 20
BETWEEN = pytest.mark.parametrize("between", ["http1", "h2"])
NAMED = ("--via", "a-name-of-some-length")
MADE_BY_THE_MESH = re.compile(rb"(traceparent|x-request-id|x-forwarded-[a-z]+): [^\r\n]*\r\n", re.IGNORECASE)


class Wire:
    """h11 on one end of a connection; it raises for whatever RFC 9112 forbids."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]):
        self.peer = h11.Connection(role)
        self.reader, self.writer = streams

    def send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.peer.send(event) or b"")

    async def next(self) -> h11.Event:
        while (event := self.peer.next_event()) is h11.NEED_DATA:
            self.peer.receive_data(await self.reader.read(65536))
        assert isinstance(event, h11.Event)
        return event

    async def body(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """What comes up to the end of the message, and its trailers."""
        data = b""
        while isinstance(event := await self.next(), h11.Data):
            data += event.data
        assert isinstance(event, h11.EndOfMessage)
        return data, list(event.headers)


@asynccontextmanager
async def talking(
    serve: Callable[[Wire], Awaitable[None]], tmp_path: Path, between: str
) -> AsyncIterator[tuple[Wire, Row]]:
    """A client's end; `serve` has the app's."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(Wire(h11.SERVER, (reader, writer)))

    async with running_raw_server(converse) as port:
        async with running_row(f"127.0.0.1:{port}", tmp_path, "http1", between=between) as row:
            client = Wire(h11.CLIENT, await asyncio.open_connection("127.0.0.1", row.port))
            try:
                async with asyncio.timeout(DEADLINE_S):
                    yield client, row
            finally:
                client.writer.transport.abort()


async def ask(row: Row, request: bytes, *, until: bytes = b"", eof: bool = False) -> bytes:
    """What comes back for `request`, up to `until` or to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", row.port)
    try:
        writer.write(request)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@BETWEEN
async def test_interim_answers_100_continue_and_trailers(tmp_path: Path, between: str) -> None:
    """The app hears of a request long before its body; the body is sent when the app, and nobody else, says 100."""
    seen: list[object] = []
    hints_seen = asyncio.Event()

    async def serve(app: Wire) -> None:
        asked = await app.next()
        assert isinstance(asked, h11.Request)
        seen.append(dict(asked.headers).get(b"expect"))
        for link in ("</a>", "</b>"):
            app.send(h11.InformationalResponse(status_code=103, headers=[("link", link)]))
        await hints_seen.wait()
        assert app.peer.next_event() is h11.NEED_DATA
        app.send(h11.InformationalResponse(status_code=100, headers=[]))
        seen.append(await app.body())
        app.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked"), ("trailer", "x-sum")]))
        app.send(h11.Data(data=b"answer"), h11.EndOfMessage(headers=[("x-sum", "2"), ("x-sum", "3")]))

    async with talking(serve, tmp_path, between) as (client, _):
        fields = [("host", "app"), ("te", "trailers"), ("expect", "100-continue"), ("transfer-encoding", "chunked")]
        client.send(h11.Request(method="POST", target="/", headers=fields))
        for link in (b"</a>", b"</b>"):
            hint = await client.next()
            assert isinstance(hint, h11.InformationalResponse)
            assert (hint.status_code, dict(hint.headers)[b"link"]) == (103, link)
        hints_seen.set()
        go_on = await client.next()
        assert isinstance(go_on, h11.InformationalResponse)
        assert go_on.status_code == 100
        client.send(h11.Data(data=b"as"), h11.Data(data=b"ked"), h11.EndOfMessage(headers=[("x-sum", "1")]))
        final = await client.next()
        assert isinstance(final, h11.Response)
        assert final.status_code == 200
        assert await client.body() == (b"answer", [(b"x-sum", b"2"), (b"x-sum", b"3")])
    assert seen == [b"100-continue", (b"asked", [(b"x-sum", b"1")])]


@BETWEEN
async def test_an_answer_begins_and_goes_on_while_the_request_does(tmp_path: Path, between: str) -> None:
    """Each piece is sent when the one before has come back."""

    async def serve(app: Wire) -> None:
        assert isinstance(await app.next(), h11.Request)
        app.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))
        while isinstance(event := await app.next(), h11.Data):
            app.send(event)
        app.send(h11.EndOfMessage())

    async with talking(serve, tmp_path, between) as (client, _):
        client.send(h11.Request(method="PUT", target="/", headers=[("host", "a"), ("transfer-encoding", "chunked")]))
        assert isinstance(await client.next(), h11.Response)
        for number in range(20):
            client.send(h11.Data(data=b"%02d" % number))
            back = await client.next()
            assert isinstance(back, h11.Data)
            assert back.data == b"%02d" % number
        client.send(h11.EndOfMessage())
        assert await client.body() == (b"", [])


@BETWEEN
async def test_a_final_answer_is_seen_by_who_is_still_sending(tmp_path: Path, between: str) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=413, text="too much")

    async with running_backend(refuse) as app:
        async with running_row(app.address, tmp_path, "http1", between=between) as row, asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", row.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000000\r\n\r\n")
            answer = b""
            reading = asyncio.create_task(reader.readuntil(b"too much"))
            while not reading.done():
                writer.write(bytes(65536))
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                await asyncio.sleep(0)
            answer = await reading
            writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 413 ")


@BETWEEN
async def test_pipelined_requests_of_all_kinds_are_answered_in_order(tmp_path: Path, between: str) -> None:
    """The later, the quicker. The client says all at once and closes its side."""
    count = 12

    async def answer(request: web.Request) -> web.StreamResponse:
        number = int(request.path[1:])
        body = await request.read()
        await asyncio.sleep(0.002 * (count - number))
        return web.Response(text=f"<{number} {request.method} {body.decode()}>", status=404 if number % 4 == 3 else 200)

    requests, expected = b"", []
    for number in range(count):
        method = (b"GET", b"POST", b"PUT", b"HEAD")[number % 4]
        body = b"" if method in (b"GET", b"HEAD") else b"b%d" % number
        framing = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        if method == b"PUT":
            framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        requests += b"%b /%d HTTP/1.1\r\nHost: app\r\n%b" % (method, number, framing)
        if method != b"HEAD":
            expected.append(b"<%d %b %b>" % (number, method, body))
    async with running_backend(answer) as app:
        async with running_row(app.address, tmp_path, "http1", between=between) as row:
            answers = await ask(row, requests, eof=True)
    assert re.findall(rb"\r\n\r\n(<[^>]*>)", answers) == expected
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"200", b"404"] * (count // 4)


@BETWEEN
@pytest.mark.skipif(not pairing.has("curl"), reason="curl is not installed")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
async def test_options_of_the_server_as_a_whole(tmp_path: Path, between: str, version: str) -> None:
    targets: list[bytes] = []

    async def serve(app: Wire) -> None:
        asked = await app.next()
        assert isinstance(asked, h11.Request)
        targets.append(asked.method + b" " + asked.target)
        app.send(h11.Response(status_code=204, headers=[("allow", "GET")]), h11.EndOfMessage())

    async with talking(serve, tmp_path, between) as (_, row):
        options = ("--silent", "--fail", version, "--request", "OPTIONS", "--request-target", "*")
        process = await asyncio.create_subprocess_exec("curl", *options, f"http://127.0.0.1:{row.port}/")
        assert await process.wait() == 0
    assert targets == [b"OPTIONS *"]


async def test_case_and_order_of_fields_are_kept(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: app\r\nuser-AGENT: x\r\nX-b: 1\r\nACCEPT: */*\r\nX-A: 2\r\nx-B: 3\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nserVer: x\r\nX-b: 1\r\nSET-cookie: a\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok"
    async with raw_app(answer) as app:
        async with running_row(f"127.0.0.1:{app.port}", tmp_path, "http1", between="http1") as row:
            assert await ask(row, request, until=b"\r\n\r\nok") == answer
    assert MADE_BY_THE_MESH.sub(b"", app.heads[-1]) == request


@BETWEEN
async def test_what_belongs_to_one_connection_goes_no_further(tmp_path: Path, between: str) -> None:
    """Both ways, at each hop; what stands beside it goes through."""
    request = (
        b"GET / HTTP/1.1\r\nHost: app\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n"
        b"Proxy-Connection: x\r\nTE: deflate\r\nX-Kept: 1\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-MINE: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\n"
        b"X-Kept: 1\r\nContent-Length: 2\r\n\r\nok"
    )
    async with raw_app(answer) as app:
        async with running_row(f"127.0.0.1:{app.port}", tmp_path, "http1", between=between) as row:
            answered = await ask(row, request, until=b"\r\n\r\nok")
    assert answered.lower() == b"http/1.1 200 ok\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\nok"
    asked = MADE_BY_THE_MESH.sub(b"", app.heads[-1]).lower()
    assert asked == b"get / http/1.1\r\nhost: app\r\nx-kept: 1\r\n\r\n"


LIMITS = {
    "target": (b"GET /%b HTTP/1.1\r\nHost: app\r\n\r\n" % (b"a" * 8192), b"414"),
    "fields": (b"GET / HTTP/1.1\r\nHost: app\r\n%b\r\n" % (b"X: y\r\n" * 101), b"431"),
    "head": (b"GET / HTTP/1.1\r\nHost: app\r\nX: %b\r\n\r\n" % (b"y" * 61_440), b"431"),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_what_is_over_a_limit_is_refused_by_the_first_sidecar(tmp_path: Path, name: str) -> None:
    request, status = LIMITS[name]
    async with raw_app(b"HTTP/1.1 204 X\r\n\r\n") as app:
        async with running_row(f"127.0.0.1:{app.port}", tmp_path, "http1", between="http1") as row:
            answer = await ask(row, request)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in answer
    assert not app.heads


async def test_trailers_over_the_limit_are_refused(tmp_path: Path) -> None:
    begin = b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    heard = b""

    async def listen(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        while data := await reader.read(65536):
            heard += data

    async with raw_app(listen) as app:
        async with running_row(f"127.0.0.1:{app.port}", tmp_path, "http1", between="http1") as row:
            for trailers in (b"X: %b\r\n" % (b"y" * 61_440), b"X: y\r\n" * 101):
                answer = await ask(row, begin + trailers + b"\r\n")
                assert answer.startswith(b"HTTP/1.1 431 ")
                assert b"\r\nConnection: close\r\n" in answer
    assert b"X" not in heard


def fields_of(size: int, count: int) -> bytes:
    """`count` fields of `size` bytes in all."""
    names = [b"X-%d" % number for number in range(count)]
    left = size - sum(len(name + b": \r\n") for name in names)
    values = [b"y" * (left // count) for _ in names]
    values[-1] += b"z" * (left % count)
    return b"".join(b"%b: %b\r\n" % field for field in zip(names, values, strict=True))


@BETWEEN
@pytest.mark.parametrize("count", [1, 100])
async def test_what_is_just_within_the_limits_passes_both_sidecars(tmp_path: Path, between: str, count: int) -> None:
    """What each of them adds does not count: neither fields nor bytes."""
    target = b"/" + b"a" * 8191
    fields = fields_of(60 * 1024 - len(target + b"app"), count)
    request = b"GET %b HTTP/1.1\r\nHost: app\r\n%b\r\n" % (target, fields)
    async with raw_app(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as app:
        to = f"127.0.0.1:{app.port}"
        async with running_row(to, tmp_path, "http1", between=between, caller=NAMED, callee=NAMED) as row:
            answer = await ask(row, request, until=b"\r\n\r\n")
            over = await ask(row, request.replace(b"\r\n\r\n", b"z\r\n\r\n"), until=b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert over.startswith(b"HTTP/1.1 431 ")
    (head,) = app.heads
    assert head.startswith(b"GET " + target)
    assert fields.lower() in head.lower()


@BETWEEN
@pytest.mark.parametrize("count", [1, 100])
async def test_an_answer_just_within_the_limits_passes_both_sidecars(tmp_path: Path, between: str, count: int) -> None:
    fields = fields_of(60 * 1024, count)
    async with raw_app(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % fields) as app:
        to = f"127.0.0.1:{app.port}"
        async with running_row(to, tmp_path, "http1", between=between, caller=NAMED, callee=NAMED) as row:
            answer = await ask(row, b"GET / HTTP/1.1\r\nHost: app\r\n\r\n", until=b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert fields.lower() in answer.lower()
