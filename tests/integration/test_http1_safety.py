"""What attacks, stalls or floods over HTTP/1, over real sockets. (tests/differential has what smuggles requests.)"""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import uvloop
from h2.errors import ErrorCodes

from remora.sidecar.listener import reception
from remora.sidecar.wire.limits import RequestLimits
from tests.support.h2_peer import h2_client, request_headers
from tests.support.inbound import DEADLINE_S, Inbound, raw_app, running_inbound

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LEAK = b"leaked"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + LEAK
_CHUNKS = b"6\r\n" + LEAK + b"\r\n0\r\n\r\n"


def _head(*lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


BAD_ANSWERS = {
    "no HTTP": b"SSH-2.0-" + LEAK + b"\r\n\r\n",
    "no version": b"HTTP 200 OK\r\n\r\n" + LEAK,
    "HTTP/0.9": LEAK * 3 + b"\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 6\r\n\r\n" + LEAK,
    "status 001": b"HTTP/1.1 001 X\r\nContent-Length: 6\r\n\r\n" + LEAK,
    "status of four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 6\r\n\r\n" + LEAK,
    "CL.TE": _head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + _CHUNKS,
    "TE.CL": _head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + _CHUNKS,
    "gzip, chunked": _head(b"Transfer-Encoding: gzip, chunked") + _CHUNKS,
    "chunked, gzip": _head(b"Transfer-Encoding: chunked, gzip") + LEAK,
    "gzip": _head(b"Transfer-Encoding: gzip") + LEAK,
    "identity": _head(b"Transfer-Encoding: identity") + LEAK,
    "xchunked": _head(b"Transfer-Encoding: xchunked") + LEAK,
    "chunked twice": _head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + _CHUNKS,
    "vertical tab": _head(b"Transfer-Encoding: \x0bchunked") + _CHUNKS,
    "two lengths": _head(b"Content-Length: 6", b"Content-Length: 5") + LEAK,
    "two lengths alike": _head(b"Content-Length: 6", b"Content-Length: 6") + LEAK,
    "list of lengths": _head(b"Content-Length: 6, 6") + LEAK,
    "plus": _head(b"Content-Length: +6") + LEAK,
    "minus": _head(b"Content-Length: -6") + LEAK,
    "hexadecimal": _head(b"Content-Length: 0x6") + LEAK,
    "overflow": _head(b"Content-Length: 18446744073709551622") + LEAK,
    "zeros": _head(b"Content-Length: " + b"0" * 5000 + b"6") + LEAK,
    "obs-fold": _head(b"X: a\r\n b", b"Content-Length: 6") + LEAK,
    "folded length": _head(b"Content-Length:\r\n 6") + LEAK,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 6\n\n" + LEAK,
    "bare LF behind a field": b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 6\r\n\r\n" + LEAK,
    "bare CR": _head(b"X: a\rb", b"Content-Length: 6") + LEAK,
    "NUL": _head(b"X: a\0b", b"Content-Length: 6") + LEAK,
    "NUL in a name": _head(b"X\0: b", b"Content-Length: 6") + LEAK,
    "space before the colon": _head(b"Content-Length : 6") + LEAK,
    "no colon": _head(b"X", b"Content-Length: 6") + LEAK,
    "interim with a body": b"HTTP/1.1 103 X\r\nContent-Length: 6\r\n\r\n" + LEAK + WHOLE,
    "interim with chunks": b"HTTP/1.1 199 X\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS + WHOLE,
    "101 to who did not ask": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + LEAK,
    "long head": _head(b"X: " + b"a" * 70_000, b"Content-Length: 6") + LEAK,
    "interims without end": b"HTTP/1.1 103 X\r\nX: y\r\n\r\n" * 20_000 + WHOLE,
}
"""Name → what an app says. None of it is an answer: callers get 502, and the connection is dropped."""


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_answer_that_is_none_becomes_502_and_nothing_leaks(name: str) -> None:
    dropped = asyncio.Event()

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BAD_ANSWERS[name])
        try:
            await reader.read()
        finally:
            dropped.set()

    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        answered = await inbound.ask(GET, until=b"upstream_protocol\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await dropped.wait()
        assert inbound.counted("UPE") == 1
    final = answered[answered.index(b"HTTP/1.1 502 ") :]
    assert LEAK not in answered
    assert b"\r\nHTTP/1.1" not in final


BAD_BODIES = {
    "chunk size": b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n" + LEAK,
    "chunk overflow": b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n10000000000000006\r\n" + LEAK,
    "short chunk": b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nab" + LEAK,
    "bare LF": b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n6\n" + LEAK + b"\n0\n\n",
    "cut": b"Content-Length: 9\r\n\r\nok",
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_an_answer_that_breaks_off_is_seen_to_be_broken(name: str) -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + BAD_BODIES[name])
        writer.write_eof()
        await reader.read()

    async with raw_app(answer) as app, running_inbound(app.port) as inbound:
        answered = await inbound.ask(GET)
    assert LEAK not in answered
    assert not answered.endswith(b"0\r\n\r\n")
    assert b"HTTP/1.1 5" not in answered


async def test_bytes_behind_an_answer_never_answer_another_request() -> None:
    """The app says more than it was asked, in one write, while another request waits for a connection."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + LEAK
    async with (
        raw_app(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + evil) as app,
        running_inbound(app.port) as inbound,
    ):
        answers = await asyncio.gather(*(inbound.ask(GET, until=b"ok") for _ in range(20)))
        answers.append(await inbound.ask(GET * 5 + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    assert not any(LEAK in answer for answer in answers)
    assert answers[-1].count(b"\r\n\r\nok") == 6


# time

QUICK = RequestLimits(head_timeout_s=0.2, body_timeout_s=0.2, idle_timeout_s=0.4)


@pytest.mark.parametrize(
    ("head", "drip"),
    [(b"G", b""), (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"), (b"\r\n", b"\r\n"), (GET + b"GET /", b"x")],
)
async def test_a_slow_head_is_answered_408_and_counted(head: bytes, drip: bytes) -> None:
    async with (
        raw_app(b"HTTP/1.1 204 X\r\n\r\n") as app,
        running_inbound(app.port, limits=QUICK) as inbound,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        writer.write(head)
        answer = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"request_timeout" not in answer:
                try:
                    piece = await asyncio.wait_for(reader.read(65536), 0.05)
                except TimeoutError:
                    writer.write(drip)
                    continue
                assert piece, answer
                answer += piece
        writer.transport.abort()
        assert inbound.counted("DPE") == 1
        assert len(app.heads) == head.count(GET)
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answer
    assert b"Connection: close" in answer


async def test_a_slow_body_is_answered_408_and_its_upstream_dropped() -> None:
    dropped = asyncio.Event()

    async def wait(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        dropped.set()

    async with raw_app(wait) as app, running_inbound(app.port, limits=QUICK) as inbound:
        answer = await inbound.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        async with asyncio.timeout(DEADLINE_S):
            await dropped.wait()
        assert inbound.counted("DPE") == 1
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_slow_body_over_http2_is_answered_408_and_its_upstream_dropped() -> None:
    dropped = asyncio.Event()

    async def wait(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        dropped.set()

    async with (
        raw_app(wait) as app,
        running_inbound(app.port, limits=QUICK) as inbound,
        h2_client(inbound.port) as client,
        asyncio.timeout(DEADLINE_S),
    ):
        call = client.request(request_headers("POST", "/"), end=False)
        assert (await call.finish()).status == 408
        await dropped.wait()
        assert inbound.counted("DPE") == 1


async def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    async def slow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_app(slow) as app, running_inbound(app.port, limits=QUICK) as inbound:
        answer = await inbound.ask(GET)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_what_is_refused_is_counted_by_its_status() -> None:
    async with raw_app(b"") as app, running_inbound(app.port) as inbound:
        bad = (b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03")
        for request in bad:
            await inbound.ask(request)
        await inbound.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n")
        found = {labels: series.count for labels, series in inbound.metrics.requests.items()}
    assert found == {
        ("inbound", "", "", "", "", "4xx", "DPE"): 3,
        ("inbound", "", "", "", "", "5xx", "DPE"): 1,
    }


async def test_what_is_refused_over_http2_is_counted_too() -> None:
    async with raw_app(b"") as app, running_inbound(app.port) as inbound, h2_client(inbound.port) as client:
        assert (await client.request(request_headers("GET", "/a b")).finish()).reset_code == ErrorCodes.PROTOCOL_ERROR
        assert (await client.request(request_headers("GET", "/" + "a" * 9000)).finish()).status == 414
        length = (b"content-length", b"5")
        assert (await client.request(request_headers("POST", "/", length)).finish()).reset_code is not None
        assert inbound.counted("DPE") == 3


@pytest.mark.parametrize("start", [b"P", b"PRI * HTTP/2.0\r\n\r\nS"])
async def test_the_beginning_of_a_preface_does_not_hold_a_connection(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "HELLO_TIMEOUT_S", 0.1)
    async with raw_app(b"") as app, running_inbound(app.port, limits=QUICK) as inbound:
        answer = await inbound.ask(start)
    assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))


# bytes held


@dataclasses.dataclass
class Held:
    """The most that lay in the write buffers of a listener's connections."""

    most: int = 0

    def look(self, inbound: Inbound) -> None:
        for connection in inbound.listener._connections:
            transport = getattr(connection, "transport", None) or getattr(connection, "_transport", None)
            if transport is not None:
                self.most = max(self.most, transport.get_write_buffer_size())


@pytest.mark.parametrize("framing", ["length", "chunked", "upgrade", "tcp"])
def test_a_slow_reader_behind_a_fast_writer_costs_less_than_256_kib(framing: str) -> None:
    """On uvloop, as in a sidecar: its reads are up to 256,000 bytes."""
    total = 64 * 1024 * 1024
    poured = 0
    heads = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total,
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "tcp": b"",
    }
    asks = GET[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n" if framing == "upgrade" else GET

    async def pour(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal poured
        writer.write(heads[framing])
        piece = bytes(1024 * 1024)
        while poured < total:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
            await writer.drain()
            poured += len(piece)

    async def play() -> Held:
        held = Held()
        async with (
            raw_app(pour) as app,
            running_inbound(app.port, "tcp" if framing == "tcp" else "http1", is_opaque=framing == "tcp") as inbound,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", inbound.port, limit=1024)
            writer.write(asks)
            async with asyncio.timeout(DEADLINE_S):
                before = -1
                while poured == 0 or poured != before:
                    before = poured
                    for _ in range(100):
                        await asyncio.sleep(0.005)
                        held.look(inbound)
            writer.transport.abort()
        return held

    held = uvloop.run(play())
    assert poured < total, "the app was held back"
    assert 0 < held.most < 256 * 1024
