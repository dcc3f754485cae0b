"""The apps: `python -m soak.app http|grpc PORT`. They say what they got by its digest, and send what was asked for."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from aiohttp import WSMsgType, web

from soak.pattern import digest, pattern

ASKED = struct.Struct(">QLL")
"""Of a gRPC request: seed, size of an answer, number of answers."""
SERVICE = "soak.Soak"
STOP_GRACE_S = 1.0


async def echo(request: web.Request) -> web.StreamResponse:
    """Reads the body, answers with its digest and `size` bytes of pattern `seed`, framed as `framing` says."""
    seen = hashlib.sha256()
    async for chunk in request.content.iter_any():
        seen.update(chunk)
    query = request.query
    body = pattern(int(query["seed"]), int(query["size"]))
    headers = {"x-digest": seen.hexdigest()}
    if query["framing"] == "length":
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    for start in range(0, len(body), 20_000):
        await response.write(body[start : start + 20_000])
    await response.write_eof()
    return response


async def websocket(request: web.Request) -> web.StreamResponse:
    """Says each message again."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


def serve_http(port: int) -> None:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/ws", websocket)
    web.run_app(app, host="127.0.0.1", port=port, shutdown_timeout=STOP_GRACE_S, print=lambda *_: None)


async def unary(request: bytes, context: Any) -> bytes:
    seed, size, _ = ASKED.unpack_from(request)
    return digest(request).encode() + pattern(seed, size)


async def client_stream(requests: AsyncIterator[bytes], context: Any) -> bytes:
    seen, count = hashlib.sha256(), 0
    async for message in requests:
        seen.update(message)
        count += 1
    return f"{count} {seen.hexdigest()}".encode()


async def server_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    seed, size, count = ASKED.unpack_from(request)
    for number in range(count):
        yield pattern(seed + number, size)


async def bidirectional(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


async def serve_grpc(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Bidirectional": grpc.stream_stream_rpc_method_handler(bidirectional),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(STOP_GRACE_S)


if __name__ == "__main__":
    if sys.argv[1] == "http":
        serve_http(int(sys.argv[2]))
    else:
        asyncio.run(serve_grpc(int(sys.argv[2])))
