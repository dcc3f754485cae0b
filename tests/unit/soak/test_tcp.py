"""The soak's client of bytes and its app, with nothing between them, or something that errs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from soak import tcp
from soak.app import TcpApp
from soak.ledger import ClientFailure, WrongByteError


@asynccontextmanager
async def running_app(*, flip: bool = False, cut: bool = False) -> AsyncIterator[int]:
    """`flip`: a bit of what the app reads is another. `cut`: it ends before its answer is whole."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if flip or cut:
            data = bytearray(await reader.read())
            data[-1:] = bytes(byte ^ 1 for byte in data[-1:])
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            if flip:
                reader.feed_eof()
        if cut:
            writer.write(b"some")
            writer.close()
        else:
            await TcpApp().converse(reader, writer)

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def many(client: tcp.Client, port: int) -> int:
    """Some are aborted on purpose."""
    return sum([await client(Random(seed), port) for seed in range(20)])


@pytest.mark.parametrize("client", [tcp.opaque, tcp.by_server_name])
async def test_what_passes_as_it_was_sent_is_good(client: tcp.Client) -> None:
    async with running_app() as port:
        assert await many(client, port) > 0


async def test_a_wrong_bit_is_found() -> None:
    async with running_app(flip=True) as port:
        with pytest.raises(WrongByteError):
            await many(tcp.opaque, port)


async def test_an_answer_that_is_cut_off_is_a_failure() -> None:
    async with running_app(cut=True) as port:
        with pytest.raises(ClientFailure, match="in the answer: IncompleteReadError"):
            await many(tcp.opaque, port)
