"""Our HTTP/2 over real sockets, judged by gRPC's C core: as its server, and as its client."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http2 import Http2ClientConnection, Http2ServerConnection
from remora.sidecar.wire.stream import RequestStream, ResetReason
from tests.support.wire import Heard, Owner

DEADLINE_S = 20
MEBIBYTE = 1024 * 1024
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Echo:
    """Sends each request's body back as it comes, with backpressure; ends with grpc-status."""

    def __init__(self, stream: RequestStream, head: RequestHead, end: bool) -> None:
        self.stream = stream
        self.head = head
        fields: Fields = [(b"content-type", b"application/grpc"), (b"x-path", head.path)]
        fields += [field for field in head.fields if field[0].startswith(b"x-")]
        stream.send_head(ResponseHead(200, fields), False)
        if end:
            self.finish()

    def finish(self) -> None:
        self.stream.send_trailers([(b"grpc-status", b"0"), (b"x-trailer", b"bye")])

    def on_data(self, data: bytes, end: bool) -> None:
        self.stream.send_data(data, False)
        if end:
            self.finish()

    def on_trailers(self, trailers: Fields) -> None:
        self.finish()

    def on_reset(self, reason: ResetReason) -> None:
        pass

    def on_writable(self, writable: bool) -> None:
        if writable:
            self.stream.resume()
        else:
            self.stream.pause()


@asynccontextmanager
async def echo_server(factory: Callable[[RequestStream, RequestHead, bool], Any] = Echo) -> AsyncIterator[int]:
    connections: list[Http2ServerConnection] = []

    def accept() -> Http2ServerConnection:
        connections.append(Http2ServerConnection(factory))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            connection.abort()
        await server.wait_closed()


@asynccontextmanager
async def channel_to(port: int) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


async def test_grpc_unary_calls_are_served() -> None:
    async with echo_server() as port, channel_to(port) as channel:
        call = channel.unary_unary("/echo.Echo/Unary")
        for number in range(20):
            payload = b"hello %d" % number
            reply = call(payload, timeout=DEADLINE_S, metadata=[("x-round", str(number))])
            assert await reply == payload
            initial = dict(await reply.initial_metadata())
            assert initial["x-path"] == "/echo.Echo/Unary"
            assert initial["x-round"] == str(number)
            assert dict(await reply.trailing_metadata())["x-trailer"] == "bye"


async def test_many_concurrent_grpc_calls_with_large_messages_are_served() -> None:
    async with echo_server() as port, channel_to(port) as channel:
        call = channel.unary_unary("/echo.Echo/Unary")
        payloads = [bytes([number]) * MEBIBYTE for number in range(16)]
        replies = await asyncio.gather(*(call(payload, timeout=DEADLINE_S) for payload in payloads))
        assert replies == payloads


async def test_grpc_bidirectional_streams_are_served() -> None:
    async with echo_server() as port, channel_to(port) as channel:
        call = channel.stream_stream("/echo.Echo/Both")(timeout=DEADLINE_S)
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load (nghttp2-client) is not installed")
async def test_nghttp2_loads_without_a_failure() -> None:
    async with echo_server() as port:
        process = await asyncio.create_subprocess_exec(
            "h2load", "-n", "3000", "-c", "4", "-m", "20", f"http://127.0.0.1:{port}/", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
    assert b"3000 succeeded, 0 failed, 0 errored" in output


class Call(Heard):
    """A gRPC call of ours; `done` when it has ended in whatever way."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    def on_head(self, head: ResponseHead, end: bool) -> None:
        super().on_head(head, end)
        self._check()

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        self._check()

    def on_trailers(self, trailers: Fields) -> None:
        super().on_trailers(trailers)
        self._check()

    def on_reset(self, reason: ResetReason) -> None:
        super().on_reset(reason)
        self.done.set()

    def on_writable(self, writable: bool) -> None:
        super().on_writable(writable)
        if writable:
            self.room.set()
        else:
            self.room.clear()

    def _check(self) -> None:
        if self.ended:
            self.done.set()


@contextmanager
def grpc_server() -> Iterator[int]:
    """gRPC's own server, which echoes: /echo.Echo/Unary and /echo.Echo/Both."""
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
        "Both": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
    }
    server = grpc.server(
        ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1), ("grpc.max_concurrent_streams", 50)]
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def message(payload: bytes) -> bytes:
    return b"\x00" + len(payload).to_bytes(4, "big") + payload


def grpc_head(method: bytes) -> RequestHead:
    return RequestHead(b"POST", method, b"localhost", [(b"te", b"trailers")], content_type=b"application/grpc")


async def call_unary(connection: Http2ClientConnection, payload: bytes) -> Call:
    call = Call()
    stream = connection.open(grpc_head(b"/echo.Echo/Unary"), False, call)
    stream.send_data(message(payload), True)
    await call.done.wait()
    return call


async def call_all(port: int) -> None:
    """Unary calls, large ones at once, and a long bidirectional stream, on one connection."""
    owner = Owner()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Http2ClientConnection(owner), "127.0.0.1", port)
    async with asyncio.timeout(DEADLINE_S):
        for number in range(20):
            call = await call_unary(connection, b"hello %d" % number)
            assert call.heads[0][0].status == 200
            assert call.data == message(b"hello %d" % number)
            assert (b"grpc-status", b"0") in (call.trailers or [])
        assert connection.free_slots == 50
        payloads = [bytes([number]) * MEBIBYTE for number in range(8)]
        calls = await asyncio.gather(*(call_unary(connection, payload) for payload in payloads))
        assert [call.data for call in calls] == [message(payload) for payload in payloads]

        both = Call()
        stream = connection.open(grpc_head(b"/echo.Echo/Both"), False, both)
        for _ in range(200):
            stream.send_data(message(b"x" * 10_000), False)
            await both.room.wait()
        stream.send_data(b"", True)
        await both.done.wait()
        assert both.data == message(b"x" * 10_000) * 200
    assert owner.freed >= 29
    connection.drain()
    assert (connection.live_streams, owner.closed) == (0, 1)
    # A drained connection waits for the peer to close; this loop does not.
    connection.abort()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_our_client_calls_grpcs_server(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with grpc_server() as port, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(call_all(port))


async def serve_ourselves() -> None:
    async with echo_server() as port:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Http2ClientConnection(Owner()), "127.0.0.1", port)
        async with asyncio.timeout(DEADLINE_S):
            payloads = [bytes([number]) * MEBIBYTE for number in range(8)]
            calls = await asyncio.gather(*(call_unary(connection, payload) for payload in payloads))
            assert [call.data for call in calls] == [message(payload) for payload in payloads]
        connection.abort()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_our_client_calls_our_server(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve_ourselves())
