"""A watch on one member: its stream in a task of its own, its batches through a short queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grpclib.client import Stream

from remora.control.store.errors import RelistNeeded, StoreUnavailable
from remora.control.store.etcd.auth import Login
from remora.control.store.etcd.faults import TokenInvalid, from_cancelled_watch
from remora.control.store.etcd.member import Member, Metadata
from remora.control.store.etcd.proto import etcd_pb2 as pb
from remora.control.store.etcd.ranges import decode_key, encode_key, range_end
from remora.control.store.interface import Event, EventKind, Revision, WatchBatch

_QUEUED_BATCHES = 16
"""A slow reader stops the stream here; HTTP/2 flow control then holds etcd back."""

_Queue = asyncio.Queue["WatchBatch | Exception"]


async def watch_member(
    member: Member, login: Login, prefix: str, from_revision: Revision
) -> AsyncGenerator[WatchBatch, None]:
    """Batches until an error. Access denied is tried once more with a new login: etcd does not say which it is."""
    metadata = await login.metadata(member)
    try:
        async with aclosing(_watch(member, metadata, prefix, from_revision)) as batches:
            async for batch in batches:
                from_revision = Revision(batch.revision + 1)
                yield batch
    except TokenInvalid:
        if not login.possible:
            raise
        login.forget(metadata)
    metadata = await login.metadata(member)
    async with aclosing(_watch(member, metadata, prefix, from_revision)) as batches:
        async for batch in batches:
            yield batch


async def _watch(
    member: Member, metadata: Metadata, prefix: str, from_revision: Revision
) -> AsyncGenerator[WatchBatch, None]:
    queue: _Queue = asyncio.Queue(_QUEUED_BATCHES)
    # Its own task: see remora.proto.isolated, and a generator may be resumed by any task.
    pump = asyncio.create_task(_pump(queue, member, metadata, prefix, from_revision))
    try:
        while True:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        pump.cancel()
        while not queue.empty():
            queue.get_nowait()  # room for a last error: grpclib may have put its own in place of our cancellation
        await asyncio.wait((pump,))


async def _pump(queue: _Queue, member: Member, metadata: Metadata, prefix: str, from_revision: Revision) -> None:
    """Move batches into the queue; the error that ends it comes last."""
    try:
        # Without `hasleader`, a watch on a member that has lost its quorum stays silent for ever.
        async with member.watch(metadata | {"hasleader": "true"}) as stream:
            async with asyncio.timeout(member.timeout_s):
                await _create(stream, prefix, from_revision)
                first = await _receive(stream, member)
            _check_history(first, from_revision, member)
            await queue.put(WatchBatch((), Revision(from_revision - 1)))
            while True:
                await queue.put(_batch(await _receive(stream, member)))
    except Exception as error:
        await queue.put(member.fault(error))


async def _create(stream: Stream[pb.WatchRequest, pb.WatchResponse], prefix: str, from_revision: Revision) -> None:
    create = pb.WatchCreateRequest(
        key=encode_key(prefix) or b"\0",
        range_end=range_end(prefix),
        start_revision=from_revision,
        progress_notify=True,
    )
    await stream.send_message(pb.WatchRequest(create_request=create))


async def _receive(stream: Stream[pb.WatchRequest, pb.WatchResponse], member: Member) -> pb.WatchResponse:
    response = await stream.recv_message()
    if response is None:
        raise StoreUnavailable(f"etcd at {member.address} ended the watch")
    if response.compact_revision:
        raise RelistNeeded(f"etcd at {member.address} has compacted its history up to {response.compact_revision}")
    if response.canceled:
        raise from_cancelled_watch(response.cancel_reason, member.address)
    return response


def _check_history(created: pb.WatchResponse, from_revision: Revision, member: Member) -> None:
    """A member that has not come to where we are was restored or wiped, or lags: its list tells."""
    if created.header.revision < from_revision - 1:
        raise RelistNeeded(
            f"etcd at {member.address} is at revision {created.header.revision}, we have seen {from_revision - 1}"
        )


def _batch(response: pb.WatchResponse) -> WatchBatch:
    """Resume after the last event; after the header's revision only when there is none (a progress notice)."""
    events = tuple(_event(event) for event in response.events)
    revision = events[-1].mod_revision if events else Revision(response.header.revision)
    return WatchBatch(events, revision)


def _event(event: pb.Event) -> Event:
    kind = EventKind.DELETE if event.type == pb.Event.DELETE else EventKind.PUT
    kv = event.kv
    return Event(kind, decode_key(kv.key), kv.value, Revision(kv.mod_revision), Revision(kv.create_revision))
