"""Bounded reads, on the loops that sidecars and tests run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
import uvloop

from remora.sidecar.wire.reads import READ_BYTES, bound_reads

TOTAL = bytes(range(256)) * 16_384
DEADLINE_S = 20


class Reader(asyncio.Protocol):
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.data = b""
        self.ended = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        bound_reads(self.transport, self)
        self.sizes.append(len(data))
        self.data += data

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def play() -> None:
    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(TOTAL)
        writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with asyncio.timeout(DEADLINE_S):
        port = server.sockets[0].getsockname()[1]
        _, reader = await asyncio.get_running_loop().create_connection(Reader, "127.0.0.1", port)
        assert await reader.lost is None
    server.close()
    assert reader.data == TOTAL
    assert reader.ended
    assert max(reader.sizes[1:]) <= READ_BYTES


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_reads_after_the_first_are_bounded_and_all_else_is_passed_on(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play())
