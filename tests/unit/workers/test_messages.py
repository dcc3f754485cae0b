"""What parent and workers say arrives as it was said, in whatever pieces."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.names import ServiceName
from remora.model.snapshot import Snapshot
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.workers import channel as channel_module
from remora.sidecar.workers import counts
from remora.sidecar.workers.channel import Channel
from remora.sidecar.workers.messages import (
    Answer,
    Ask,
    Configure,
    Drain,
    Failed,
    Finish,
    Finished,
    FromParent,
    FromWorker,
    Message,
    Report,
    Tell,
    Up,
    encode,
)
from tests.support.push import endpoint, endpoints_of, routed

ORDERS = ServiceName("orders.default")


@pytest.mark.parametrize(
    "message",
    [Configure(Snapshot(), (1, 2)), Answer(ORDERS, known=True), Tell(7, clusters=False), Drain(), Finish()],
    ids=lambda message: type(message).__name__,
)
def test_what_the_parent_says(message: Message) -> None:
    assert msgspec.msgpack.decode(encode(message), type=FromParent) == message


@pytest.mark.parametrize(
    "message",
    [Up(), Failed("taken"), Ask(ORDERS), Report(7, {}, (ORDERS,), 3, {"inbound": 2}, ()), Finished(clean=False)],
    ids=lambda message: type(message).__name__,
)
def test_what_a_worker_says(message: Message) -> None:
    assert msgspec.msgpack.decode(encode(message), type=FromWorker) == message


def test_a_snapshot_with_everything_in_it() -> None:
    parts = routed("orders", "orders", "stock"), endpoints_of("orders", "o-1"), endpoint("o-2")
    snapshot = Snapshot(7, {ORDERS: parts[0]}, {ORDERS: parts[1]})
    assert msgspec.msgpack.decode(encode(Configure(snapshot, ())), type=FromParent) == Configure(snapshot, ())


def test_counts_on_their_way() -> None:
    worker, parent = Metrics(), Metrics()
    worker.new_series(("a", "b", "c", "d", "e", "f", "g")).observe(0.25, 10, 20)
    report = msgspec.msgpack.decode(encode(Report(1, counts.take(worker), (), 0, {}, None)), type=FromWorker)
    assert isinstance(report, Report)
    counts.add(parent, report.counts)
    ((labels, series),) = parent.requests.items()
    assert labels == ("a", "b", "c", "d", "e", "f", "g")
    assert (series.count, series.seconds, series.request_bytes) == (1, 0.25, 10)


# The channel


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_messages_come_whole_in_whatever_pieces(messages: list[bytes], size: int) -> None:
    got: list[bytes] = []
    channel = Channel(got.append)
    data = b"".join(len(message).to_bytes(4) + message for message in messages)
    for start in range(0, len(data), size):
        channel.data_received(data[start : start + size])
    assert got == messages


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Channel, Channel, list[bytes]]]:
    """Two ends, and what the second gets."""
    ours, theirs = socket.socketpair()
    got: list[bytes] = []
    a, b = await Channel.open(ours, lambda _: None), await Channel.open(theirs, got.append)
    try:
        yield a, b, got
    finally:
        for end in (a, b):
            end.abort()
            await end.closed.wait()


async def test_both_ends_learn_that_one_is_closed_after_all_that_was_said() -> None:
    async with pair() as (a, b, got), asyncio.timeout(10):
        large = bytes(1_000_000)
        a.send(large)
        a.send(b"")
        a.close()
        await b.closed.wait()
        assert got == [large, b""]
        await a.closed.wait()
        a.send(b"nobody is there")
        assert not a.writable


async def test_an_end_that_does_not_read_is_not_writable_until_it_does() -> None:
    ours, theirs = socket.socketpair()
    again = asyncio.Event()
    channel = await Channel.open(ours, lambda _: None, again.set)
    with theirs:
        assert channel.writable
        channel.send(bytes(4_000_000))
        assert not channel.writable
        theirs.setblocking(False)
        left = 4_000_004
        async with asyncio.timeout(10):
            while left:
                left -= len(await asyncio.get_running_loop().sock_recv(theirs, left))
            await again.wait()
        assert channel.writable
        channel.abort()
        await channel.closed.wait()


async def test_nonsense_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_MESSAGE", 100)
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours, lambda _: None)
    with theirs:
        theirs.sendall((101).to_bytes(4))
        async with asyncio.timeout(10):
            await channel.closed.wait()
