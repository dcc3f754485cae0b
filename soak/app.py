"""The apps: `python -m soak.app http|grpc|tcp PORT EXECUTED`. They say what they got by its digest, and send what was
asked for. The ids of requests that are not safe to execute twice are added to the file EXECUTED."""

from __future__ import annotations

import asyncio
import hashlib
import os
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
BYTES_ASKED = struct.Struct(">QL")
"""What bytes begin with, if not with a ClientHello: seed and size of the answer."""
TLS_HANDSHAKE = b"\x16"
"""The first of a ClientHello; no seed is so large that it begins with it (RFC 8446 §5.1)."""
SERVICE = "soak.Soak"
ID_FIELD = "x-soak-id"
STOP_GRACE_S = 1.0


class Executed:
    """The file that all apps write to: a line by one write, so that lines stay whole and a kill loses none."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, number: str) -> None:
        os.write(self._file, f"{number}\n".encode())


class HttpApp:
    """An echo with checksums, and a WebSocket that says each message again."""

    def __init__(self, executed: Executed) -> None:
        self._executed = executed

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Reads the body, answers with its digest and `size` bytes of pattern `seed`, framed as `framing` says."""
        if request.method == "POST":
            self._executed.add(request.headers[ID_FIELD])
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

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    def serve(self, port: int) -> None:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/echo", self.echo)
        app.router.add_get("/ws", self.websocket)
        said = f"listening 127.0.0.1:{port}"
        web.run_app(
            app, host="127.0.0.1", port=port, shutdown_timeout=STOP_GRACE_S, print=lambda *_: print(said, flush=True)
        )


class GrpcApp:
    """One method for each direction of streaming."""

    def __init__(self, executed: Executed) -> None:
        self._executed = executed

    async def unary(self, request: bytes, _: Any) -> bytes:
        seed, size, _ = ASKED.unpack_from(request)
        return digest(request).encode() + pattern(seed, size)

    async def client_stream(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self._note(context)
        seen, count = hashlib.sha256(), 0
        async for message in requests:
            seen.update(message)
            count += 1
        return f"{count} {seen.hexdigest()}".encode()

    async def server_stream(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        seed, size, count = ASKED.unpack_from(request)
        for number in range(count):
            yield pattern(seed + number, size)

    async def bidirectional(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self._note(context)
        async for message in requests:
            yield message

    def _note(self, context: Any) -> None:
        self._executed.add(dict(context.invocation_metadata())[ID_FIELD])

    async def serve(self, port: int) -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "Bidirectional": grpc.stream_stream_rpc_method_handler(self.bidirectional),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        print(f"listening 127.0.0.1:{port}", flush=True)
        await _until_told_to_stop()
        await server.stop(STOP_GRACE_S)


class TcpApp:
    """Answers while it reads; ends with the digest of what it got until the caller ended."""

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self.converse, "127.0.0.1", port)
        print(f"listening 127.0.0.1:{port}", flush=True)
        await _until_told_to_stop()
        server.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError):
            # A caller that went away, or a probe.
            writer.transport.abort()
        else:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = hashlib.sha256()

        async def read(size: int) -> bytes:
            data = await reader.readexactly(size)
            seen.update(data)
            return data

        first = await read(1)
        if first == TLS_HANDSHAKE:
            rest = await read(4)
            await read(int.from_bytes(rest[2:]))
            first = b""
        seed, size = BYTES_ASKED.unpack(first + await read(BYTES_ASKED.size - len(first)))
        answering = asyncio.create_task(self._answer(writer, pattern(seed, size)))
        try:
            while data := await reader.read(65536):
                seen.update(data)
            await answering
        finally:
            answering.cancel()
            await asyncio.wait((answering,))
        writer.write(seen.hexdigest().encode())
        writer.write_eof()
        await writer.drain()

    async def _answer(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), 20_000):
            writer.write(data[start : start + 20_000])
            await writer.drain()


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()


def main() -> None:
    kind, port, executed = sys.argv[1:]
    if kind == "http":
        HttpApp(Executed(executed)).serve(int(port))
    elif kind == "tcp":
        asyncio.run(TcpApp().serve(int(port)))
    else:
        asyncio.run(GrpcApp(Executed(executed)).serve(int(port)))


if __name__ == "__main__":
    main()
