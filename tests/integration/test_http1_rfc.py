"""RFC 9110 and 9112, point by point, over real sockets: what goes through, what does not, in which form."""

from __future__ import annotations

import asyncio
import re
import shutil

import aiohttp
import pytest
from aiohttp import web

from tests.support.backend import running_backend
from tests.support.h2_peer import Call, h2_client, h2_server, request_headers
from tests.support.inbound import DEADLINE_S, raw_app, running_inbound

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MADE_HERE = re.compile(rb"(traceparent|X-Request-Id|X-Forwarded-[A-Za-z]+): [^\r\n]*\r\n")


def plain(head: bytes) -> bytes:
    """A head without the fields that the sidecar makes anew for each request."""
    return MADE_HERE.sub(b"", head)


async def test_case_and_order_of_fields_are_kept_between_http1_peers() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nserVer: x\r\nX-B: 1\r\nCONTENT-type: a/b\r\nx-a: 2\r\nX-B: 3\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        answered = await inbound.ask(
            b"GET /A%20b?c HTTP/1.1\r\nHOST: Shop\r\nuser-agent: x\r\nX-one: 1\r\nACCEPT: */*\r\nX-ONE: 2\r\n"
            b"Content-Type: t/u\r\n\r\n",
            until=b"ok",
        )
    assert plain(app.heads[0]) == (
        b"GET /A%20b?c HTTP/1.1\r\nHost: Shop\r\nuser-agent: x\r\nX-one: 1\r\nACCEPT: */*\r\nX-ONE: 2\r\n"
        b"Content-Type: t/u\r\n\r\n"
    )
    assert answered == answer


async def test_what_belongs_to_a_connection_ends_there_both_ways() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok"
    )
    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        answered = await inbound.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-secret , TE\r\nConnection: X-Other\r\nX-Secret: 1\r\n"
            b"x-other: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: websocket\r\n"
            b"HTTP2-Settings: x\r\nX-Kept: 2\r\n\r\n",
            until=b"ok",
        )
    assert plain(app.heads[0]) == b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX-Kept: 2\r\n\r\n"
    assert answered == b"HTTP/1.1 200 OK\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok"


async def test_chunks_with_extensions_and_trailers_both_ways() -> None:
    heard: list[bytes] = []

    async def echo(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"X-Sum: 5\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nTrailer: X-T\r\n\r\n")
        writer.write(b'3;a="b;c"\r\nxyz\r\n0;d\r\nX-T: 1\r\nX-T: 2\r\nKeep-Alive: 9\r\n\r\n')

    async with raw_app(echo) as app, running_inbound(app.port) as inbound:
        answered = await inbound.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
            b"0003;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nHost: b\r\n\r\n",
            until=b"X-T: 2\r\n\r\n",
        )
    assert plain(app.heads[0]) == b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    body, _, trailers = heard[0].rpartition(b"0\r\n")
    assert b"".join(re.findall(rb"[0-9a-f]+\r\n(\w+)\r\n", body)) == b"abcde"
    assert trailers == b"X-Sum: 5\r\n\r\n"
    assert answered == (
        b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nxyz\r\n0\r\nX-T: 1\r\nX-T: 2\r\n\r\n"
    )


SET_COOKIES = ["a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2", "a=3"]


async def test_set_cookie_keeps_order_and_count_in_every_pairing() -> None:
    async def by_http1(request: web.Request) -> web.StreamResponse:
        response = web.Response(text="ok")
        for cookie in SET_COOKIES:
            response.headers.add("Set-Cookie", cookie)
        return response

    async def by_http2(call: Call) -> None:
        await call.finish()
        cookies = [(b"set-cookie", cookie.encode()) for cookie in SET_COOKIES]
        call.send_headers([(b":status", b"200"), *cookies], end=True)

    async with running_backend(by_http1) as one, h2_server(by_http2) as two, aiohttp.ClientSession() as session:
        for port, protocol in ((one.port, "http1"), (two.port, "h2")):
            async with running_inbound(port, protocol) as inbound:
                async with session.get(f"http://127.0.0.1:{inbound.port}/") as response:
                    assert response.headers.getall("Set-Cookie") == SET_COOKIES
                async with h2_client(inbound.port) as client:
                    call = await client.request(request_headers()).finish()
                    cookies = [value.decode() for name, value in call.headers if name == b"set-cookie"]
                    assert cookies == SET_COOKIES


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_answers_without_a_body(status: int) -> None:
    length = b"" if status == 204 else b"Content-Length: 7\r\n"
    answer = b"HTTP/1.1 %d X\r\n%bETag: 1\r\n\r\n" % (status, length)
    method = b"HEAD" if status == 200 else b"GET"
    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        request = method + b" / HTTP/1.1\r\nHost: a\r\n"
        answered = await inbound.ask(request + b"\r\n" + request + b"Connection: close\r\n\r\n")
    first, second, rest = answered.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert (b"Content-Length: 7" in first) == (status != 204)
    assert b"Connection: close" in second
    assert rest == b""


async def test_a_head_that_would_be_chunked() -> None:
    async with (
        raw_app(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") as app,
        running_inbound(app.port) as inbound,
    ):
        request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        answered = await inbound.ask(request * 3, until=b"OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert answered.count(b"200 OK") == 3


async def test_http10_clients_are_answered_in_their_way() -> None:
    async def stream(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        if head.startswith(b"GET /known"):
            writer.write(OK)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")

    async with raw_app(stream) as app, running_inbound(app.port) as inbound:
        kept = b"GET /known HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
        answered = await inbound.ask(kept + kept + b"GET /unknown HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        closed = await inbound.ask(b"GET /known HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    known = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    assert answered == known + known + b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
    assert closed == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert b"expect" not in app.heads[-1].lower()


async def test_curl_by_every_version_and_method() -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read() or request.method.encode())

    async def run(*arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            str(curl), "--silent", "--show-error", "--fail", *arguments, url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        assert process.returncode == 0
        return output

    async with running_backend(echo) as app, running_inbound(app.port) as inbound:
        url = f"http://127.0.0.1:{inbound.port}/"
        assert await run("--http1.0") == b"GET"
        assert await run("--head") != b""
        assert await run("--data-binary", "x" * 2000, "-H", "Expect: 100-continue") == b"x" * 2000
        assert await run("--data-binary", "chunked", "-H", "Transfer-Encoding: chunked") == b"chunked"
        assert await run("--request", "OPTIONS", "--request-target", "*") == b"OPTIONS"


async def test_interim_answers_go_through_in_order() -> None:
    answer = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\nLink: <b>\r\n\r\n" + OK
    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        assert await inbound.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", until=b"ok") == answer
        async with h2_client(inbound.port) as client:
            call = await client.request(request_headers()).finish()
            assert [dict(headers)[b":status"] for headers in call.informational] == [b"102", b"103"]
            assert call.status == 200


async def test_expect_continue_is_between_client_and_app_over_http2_too() -> None:
    """The client sends its body only when the app has said 100, and the app says 200 when it has the body."""
    asked: list[object] = []

    async def serve(call: Call) -> None:
        asked.append((call.field(b"expect"), call.data))
        call.send_headers([(b":status", b"100")])
        await call.finish()
        call.send_headers([(b":status", b"200")])
        await call.send_data(call.data, end=True)

    async with h2_server(serve) as app, running_inbound(app.port, "h2") as inbound:
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert b"hello" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert asked == [(b"100-continue", b"")]


async def test_a_final_answer_instead_of_continue() -> None:
    async with (
        raw_app(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n") as app,
        running_inbound(app.port) as inbound,
    ):
        answered = await inbound.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert answered == b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    """It would be lost in a TCP reset if the rest of the request were not read."""
    sent = 0

    async with (
        raw_app(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig") as app,
        running_inbound(app.port) as inbound,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        answer = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"big" not in answer:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()
                try:
                    answer += await asyncio.wait_for(reader.read(65536), 0.01)
                except TimeoutError:
                    continue
        writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sends", [True, False])
async def test_a_client_that_stays_after_an_early_answer_is_not_kept(sends: bool) -> None:
    """The app neither reads on nor closes, nor does the client: the sidecar ends both."""
    gone = asyncio.Event()

    async def refuse(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        while await reader.read(65536):
            pass
        gone.set()

    async with raw_app(refuse) as app, running_inbound(app.port) as inbound:
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in await reader.readuntil(b"\r\n\r\n")
        # Far less than the time that a stalled body has.
        async with asyncio.timeout(DEADLINE_S):
            while inbound.listener._connections:
                if sends:
                    writer.write(bytes(1000))
                await asyncio.sleep(0.02)
            await gone.wait()
        writer.transport.abort()


async def test_a_client_that_has_said_all_gets_every_answer() -> None:
    async def numbered(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = head.split()[1]
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with raw_app(numbered) as app, running_inbound(app.port) as inbound:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5))
        answered = await inbound.ask(requests, eof=True)
    assert re.findall(rb"\r\n\r\n/(\d)", answered) == [b"0", b"1", b"2", b"3", b"4"]


async def test_half_a_request_is_no_request() -> None:
    async with raw_app(OK) as app, running_inbound(app.port) as inbound:
        assert await inbound.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", eof=True) == b""
        assert await inbound.ask(b"GET / HTTP/1.1\r\nHo", eof=True) == b""


async def test_options_of_the_server_as_a_whole() -> None:
    async with raw_app(OK) as app, running_inbound(app.port) as inbound:
        for target in (b"*", b"http://shop"):
            await inbound.ask(b"OPTIONS %b HTTP/1.1\r\nHost: shop\r\n\r\n" % target, until=b"ok")
    assert [plain(head) for head in app.heads] == [b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n"] * 2
