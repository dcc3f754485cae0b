"""Clients and apps of several makes that all make and serve the same exchanges: for every pairing across a mesh."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import h11
from aiohttp import web

from tests.support.backend import running_backend, running_raw_server
from tests.support.h2_peer import Call, h2_client, h2_server, request_headers

DEADLINE_S = 30
PIECE = 10_000


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A request, and the answer that its path asks for: /STATUS/SIZE/FRAMING."""

    method: str = "GET"
    sent: int = 0
    """Bytes of the request's body; with `chunked` in pieces of unknown number."""
    chunked: bool = False
    status: int = 200
    size: int = 5
    framing: str = "length"
    """Of the answer: length, or pieces."""

    @property
    def path(self) -> str:
        return f"/{self.status}/{self.size}/{self.framing}?q=%20&r"

    @property
    def has_body(self) -> bool:
        return self.method != "HEAD" and self.status not in (204, 304)

    @property
    def expected(self) -> Answer:
        digest = hashlib.sha256(content(self.sent)).hexdigest()
        body = content(self.size) if self.has_body else b""
        return Answer(self.status, f"{self.method} {self.path} {self.sent} {digest}", ("a=1", "b=2"), body)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a client saw. `asked` is what the app says that it was asked."""

    status: int
    asked: str
    cookies: tuple[str, ...]
    body: bytes


def content(size: int) -> bytes:
    """Bytes of which none is like its neighbour."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


# ── apps ──


@dataclasses.dataclass(frozen=True)
class _Reply:
    """What an app of any make answers."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    framing: str


def _reply(method: str, path: str, body: bytes) -> _Reply:
    status, size, framing = path.strip("/").partition("?")[0].split("/")
    asked = f"{method} {path} {len(body)} {hashlib.sha256(body).hexdigest()}"
    fields = [("x-asked", asked), ("set-cookie", "a=1"), ("set-cookie", "b=2")]
    return _Reply(int(status), fields, content(int(size)), framing)


@asynccontextmanager
async def aiohttp_app() -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.StreamResponse:
        reply = _reply(request.method, request.raw_path, await request.read())
        response = web.StreamResponse(status=reply.status)
        for name, value in reply.fields:
            response.headers.add(name, value)
        if request.method == "HEAD" or reply.status in (204, 304):
            await response.prepare(request)
            return response
        if reply.framing == "length":
            response.content_length = len(reply.body)
        await response.prepare(request)
        for piece in pieces(reply.body):
            await response.write(piece)
        await response.write_eof()
        return response

    async with running_backend(serve) as backend:
        yield backend.address


@asynccontextmanager
async def h11_app() -> AsyncIterator[str]:
    """Judges each request strictly: h11 raises for what RFC 9112 forbids, and the connection ends."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        while peer.our_state is h11.IDLE:
            request, body = None, b""
            while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    peer.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return
            assert request is not None
            method = request.method.decode()
            for event in _h11_answer(method, _reply(method, request.target.decode(), body)):
                writer.write(peer.send(event) or b"")
            await writer.drain()
            if peer.our_state is h11.DONE:
                peer.start_next_cycle()

    async with running_raw_server(converse) as port:
        yield f"127.0.0.1:{port}"


def _h11_answer(method: str, reply: _Reply) -> list[h11.Event]:
    fields = list(reply.fields)
    has_body = method != "HEAD" and reply.status not in (204, 304)
    if reply.framing == "length" and reply.status not in (204, 304):
        fields.append(("content-length", str(len(reply.body))))
    data = [h11.Data(data=piece) for piece in pieces(reply.body)] if has_body else []
    return [h11.Response(status_code=reply.status, headers=fields), *data, h11.EndOfMessage()]


@asynccontextmanager
async def h2_app() -> AsyncIterator[str]:
    async def serve(call: Call) -> None:
        await call.finish()
        method, path = call.field(b":method") or b"", call.field(b":path") or b""
        reply = _reply(method.decode(), path.decode(), call.data)
        headers = [(b":status", b"%d" % reply.status), *((k.encode(), v.encode()) for k, v in reply.fields)]
        body = b"" if method == b"HEAD" or reply.status in (204, 304) else reply.body
        if body and reply.framing == "length":
            headers.append((b"content-length", b"%d" % len(body)))
        call.send_headers(headers, end=not body)
        for number, piece in enumerate(parts := pieces(body), 1):
            await call.send_data(piece, end=number == len(parts))

    async with h2_server(serve) as server:
        yield server.address


# ── clients ──

Ask = Callable[[int, Exchange, Path], Awaitable[Answer]]
"""Make an exchange with 127.0.0.1:port; a folder for files."""


async def by_aiohttp(port: int, exchange: Exchange, _: Path) -> Answer:
    data = content(exchange.sent)

    async def in_pieces() -> AsyncIterator[bytes]:
        for piece in pieces(data):
            yield piece

    async with (
        aiohttp.ClientSession() as session,
        session.request(
            exchange.method,
            # Encoded already.
            aiohttp.client.URL(f"http://127.0.0.1:{port}{exchange.path}", encoded=True),
            data=in_pieces() if exchange.chunked else data or None,
        ) as response,
    ):
        cookies = tuple(response.headers.getall("set-cookie"))
        return Answer(response.status, response.headers["x-asked"], cookies, await response.read())


async def by_h11(port: int, exchange: Exchange, _: Path) -> Answer:
    """Judges each answer strictly."""
    peer = h11.Connection(h11.CLIENT)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = content(exchange.sent)
    framing = ("transfer-encoding", "chunked") if exchange.chunked else ("content-length", str(len(data)))
    head = h11.Request(method=exchange.method, target=exchange.path, headers=[("host", "app"), framing])
    try:
        for event in [head, *(h11.Data(data=piece) for piece in pieces(data)), h11.EndOfMessage()]:
            writer.write(peer.send(event) or b"")
        response, body = None, b""
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                peer.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
        assert response is not None
        assert peer.their_state is h11.DONE, "an answer that leaves the connection open"
    finally:
        writer.close()
    fields = [(name.decode(), value.decode()) for name, value in response.headers]
    return _answer(response.status_code, fields, body)


async def by_h2(port: int, exchange: Exchange, _: Path) -> Answer:
    data = content(exchange.sent)
    length = [] if exchange.chunked or not data else [(b"content-length", b"%d" % len(data))]
    async with h2_client(port) as client:
        call = client.request(request_headers(exchange.method, exchange.path, *length), end=not data)
        if data:
            await call.send_data(data, end=True)
        await call.finish()
        assert call.ended, f"reset with {call.reset_code}"
        fields = [(name.decode(), value.decode()) for name, value in call.headers]
        return _answer(call.status, fields, call.data)


def curl(version: str) -> Ask:
    """curl with a flag for the version of HTTP."""

    async def ask(port: int, exchange: Exchange, folder: Path) -> Answer:
        sent, heads, body = folder / "sent", folder / "heads", folder / "body"
        sent.write_bytes(content(exchange.sent))
        body.write_bytes(b"")
        how = ["--head"] if exchange.method == "HEAD" else ["--request", exchange.method]
        if exchange.sent:
            how += ["--data-binary", f"@{sent}", "--header", "Expect:"]
        if exchange.chunked:
            how += ["--header", "Transfer-Encoding: chunked"]
        files = ["--dump-header", str(heads), "--output", str(body)]
        url = f"http://127.0.0.1:{port}{exchange.path}"
        process = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--show-error", version, *how, *files, url, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        status, *lines = heads.read_text().splitlines()
        fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        return _answer(int(status.split()[1]), fields, b"" if exchange.method == "HEAD" else body.read_bytes())

    return ask


def _answer(status: int, fields: list[tuple[str, str]], body: bytes) -> Answer:
    cookies = tuple(value for name, value in fields if name == "set-cookie")
    (asked,) = (value for name, value in fields if name == "x-asked")
    return Answer(status, asked, cookies, body)


def has(tool: str) -> bool:
    return shutil.which(tool) is not None
