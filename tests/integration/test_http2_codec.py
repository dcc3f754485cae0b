"""Our HTTP/2 over real sockets, judged by gRPC's C core: as its server, and as its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http2 import Http2ClientConnection, Http2ServerConnection
from remora.sidecar.wire.stream import RequestStream, ResetReason

DEADLINE_S = 20
MEBIBYTE = 1024 * 1024
BIG = 4 * MEBIBYTE


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
