"""gRPC's messages through two sidecars, one by one as they are said, and what both sidecars count of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from tests.support.grpc_app import running_grpc
from tests.support.mesh import metric, running_row

DEADLINE_S = 20
COUNT = 20


class Steps(grpc.GenericRpcHandler):
    """Streams that go on only when the other end has seen what was said last."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[bytes] = asyncio.Queue()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        kinds = {
            "/steps.Steps/One": grpc.unary_unary_rpc_method_handler(self.one),
            "/steps.Steps/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/steps.Steps/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/steps.Steps/Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return kinds.get(details.method)

    async def one(self, request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return request

    async def down(self, _: bytes, __: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for number in range(COUNT):
            yield b"%d" % number
            await self.seen.get()

    async def up(self, requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> bytes:
        async for request in requests:
            self.seen.put_nowait(request)
        return b"done"

    async def both(self, requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()


async def call_all_kinds(channel: grpc.aio.Channel, steps: Steps) -> None:
    assert await channel.unary_unary("/steps.Steps/One")(b"hi") == b"hi"
    down = channel.unary_stream("/steps.Steps/Down")(b"")
    for number in range(COUNT):
        assert await down.read() == b"%d" % number
        steps.seen.put_nowait(b"")
    assert await down.read() is grpc.aio.EOF
    up = channel.stream_unary("/steps.Steps/Up")()
    for number in range(COUNT):
        await up.write(b"%d" % number)
        assert await steps.seen.get() == b"%d" % number
    await up.done_writing()
    assert await up == b"done"
    both = channel.stream_stream("/steps.Steps/Both")()
    for number in range(COUNT):
        await both.write(b"m%d" % number)
        assert await both.read() == b"M%d" % number
    await both.done_writing()
    assert await both.read() is grpc.aio.EOF


async def test_each_message_arrives_before_the_next_is_said_and_is_counted(tmp_path: Path) -> None:
    steps = Steps()
    async with (
        running_grpc(steps) as app,
        running_row(app, tmp_path, "grpc", between="grpc") as row,
        grpc.aio.insecure_channel(f"127.0.0.1:{row.port}") as channel,
    ):
        async with asyncio.timeout(DEADLINE_S):
            await call_all_kinds(channel, steps)
        messages = {"One": (1, 1), "Down": (1, COUNT), "Up": (COUNT, 1), "Both": (COUNT, COUNT)}
        for sidecar, direction in ((row.caller, "outbound"), (row.callee, "inbound")):
            for method, expected in messages.items():
                labels = {"direction": direction, "method": f"/steps.Steps/{method}"}
                assert await metric(sidecar, "mesh_grpc_streams_total", **labels) == 1
                ways = [
                    await metric(sidecar, "mesh_grpc_messages_total", way=w, **labels) for w in ("request", "response")
                ]
                assert ways == list(expected)
                assert await metric(sidecar, "mesh_requests_total", status="OK", flag="", **labels) == 1
