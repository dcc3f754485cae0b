"""What every store must do, on memory and on a real etcd."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import pytest
import pytest_asyncio

from remora.control.store.errors import (
    LeaseGone,
    RelistNeeded,
    StoreConflict,
    StoreRefused,
    StoreUnavailable,
)
from remora.control.store.interface import NO_REVISION, Event, EventKind, Revision, Store, WatchBatch
from remora.control.store.memory import MemoryStore
from tests.support.etcd import EtcdServer
from tests.support.follower import Follower

pytestmark = pytest.mark.asyncio(loop_scope="module")

_folders = itertools.count()


@dataclass
class World:
    store: Store
    compact: Callable[[], Awaitable[None]]
    prefix: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def etcd() -> AsyncIterator[EtcdServer]:
    async with EtcdServer.running() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", params=["memory", "etcd"])
async def world(request: pytest.FixtureRequest, etcd: EtcdServer) -> AsyncIterator[World]:
    prefix = f"/test/{next(_folders)}/"
    if request.param == "memory":
        memory = MemoryStore()

        async def compact() -> None:
            memory.compact()

        yield World(memory, compact, prefix)
        await memory.close()
    else:
        store = etcd.store()
        yield World(store, etcd.compact, prefix)
        await store.close()


async def take(batches: AsyncGenerator[WatchBatch, None], events: int) -> list[Event]:
    """The first so many events of a watch."""
    taken: list[Event] = []
    async with asyncio.timeout(10):
        while len(taken) < events:
            taken += (await anext(batches)).events
    return taken


async def test_an_empty_prefix_lists_nothing_and_a_revision(world: World) -> None:
    listing = await world.store.list(world.prefix)
    assert listing.entries == ()
    assert listing.revision >= 1


async def test_list_has_the_keys_of_the_prefix_in_order(world: World) -> None:
    store, prefix = world.store, world.prefix
    await store.put(prefix + "b", b"2")
    first = await store.put(prefix + "a", b"1")
    await store.put(prefix[:-1] + "beside", b"not this")
    last = await store.put(prefix + "a", b"3")
    listing = await store.list(prefix)
    assert [(entry.key, entry.value) for entry in listing.entries] == [(prefix + "a", b"3"), (prefix + "b", b"2")]
    assert listing.entries[0].mod_revision == last == listing.revision
    assert last > first


async def test_get_finds_a_key_or_none(world: World) -> None:
    key = world.prefix + "schlüssel"
    assert await world.store.get(key) is None
    revision = await world.store.put(key, "wörter".encode())
    entry = await world.store.get(key)
    assert entry is not None
    assert (entry.key, entry.value, entry.mod_revision, entry.lease) == (key, "wörter".encode(), revision, None)


async def test_a_key_is_created_only_once(world: World) -> None:
    key = world.prefix + "a"
    await world.store.put(key, b"first", expected=NO_REVISION)
    with pytest.raises(StoreConflict, match="exists already"):
        await world.store.put(key, b"second", expected=NO_REVISION)
    entry = await world.store.get(key)
    assert entry is not None
    assert entry.value == b"first"


async def test_a_put_at_an_old_revision_changes_nothing(world: World) -> None:
    key = world.prefix + "a"
    old = await world.store.put(key, b"1")
    new = await world.store.put(key, b"2", expected=old)
    with pytest.raises(StoreConflict, match=str(old)):
        await world.store.put(key, b"3", expected=old)
    entry = await world.store.get(key)
    assert entry is not None
    assert (entry.value, entry.mod_revision) == (b"2", new)


async def test_delete_tells_whether_there_was_a_key(world: World) -> None:
    key = world.prefix + "a"
    assert await world.store.delete(key) is False
    await world.store.put(key, b"")
    assert await world.store.delete(key) is True
    assert await world.store.get(key) is None


async def test_a_delete_at_an_old_revision_changes_nothing(world: World) -> None:
    key = world.prefix + "a"
    old = await world.store.put(key, b"1")
    new = await world.store.put(key, b"2")
    with pytest.raises(StoreConflict):
        await world.store.delete(key, expected=old)
    assert await world.store.delete(key, expected=new) is True
    assert await world.store.delete(key, expected=NO_REVISION) is False


async def test_a_watch_gives_past_and_new_changes_in_order(world: World) -> None:
    store, key = world.store, world.prefix + "a"
    first = await store.put(key, b"1")
    await store.put("/elsewhere", b"")
    async with aclosing(store.watch(world.prefix, first)) as batches:
        assert await take(batches, 1) == [Event(EventKind.PUT, key, b"1", first)]
        second = await store.put(key, b"2")
        await store.put("/elsewhere", b"")
        await store.delete(key)
        changed, deleted = await take(batches, 2)
    assert changed == Event(EventKind.PUT, key, b"2", second)
    assert (deleted.kind, deleted.key, deleted.value) == (EventKind.DELETE, key, b"")
    assert deleted.mod_revision > second


async def test_a_watch_resumes_after_its_last_batch_without_loss_or_repeat(world: World) -> None:
    store, prefix = world.store, world.prefix
    start = (await store.list(prefix)).revision
    for number in range(3):
        await store.put(prefix + str(number), b"")
    seen: list[str] = []
    position = start
    while len(seen) < 3:
        async with aclosing(store.watch(prefix, Revision(position + 1))) as batches:
            async for batch in batches:
                position = batch.revision
                seen += [event.key for event in batch.events]
                if batch.events:
                    break
    assert seen == [prefix + "0", prefix + "1", prefix + "2"]


async def test_a_watch_says_first_that_it_stands(world: World) -> None:
    revision = (await world.store.list(world.prefix)).revision
    async with aclosing(world.store.watch(world.prefix, Revision(revision + 1))) as batches:
        assert await anext(batches) == WatchBatch((), revision)


async def test_a_watch_from_compacted_revisions_asks_for_a_new_list(world: World) -> None:
    store, key = world.store, world.prefix + "a"
    old = await store.put(key, b"1")
    await store.put(key, b"2")
    await store.put(key, b"3")
    await world.compact()
    with pytest.raises(RelistNeeded, match="compacted"):
        async with aclosing(store.watch(world.prefix, old)) as batches:
            await take(batches, 1)


async def test_a_watch_from_a_revision_that_never_was_asks_for_a_new_list(world: World) -> None:
    revision = (await world.store.list(world.prefix)).revision
    with pytest.raises(RelistNeeded):
        async with aclosing(world.store.watch(world.prefix, Revision(revision + 1000))) as batches:
            await take(batches, 1)


async def test_keys_go_with_their_lease_in_one_batch(world: World) -> None:
    store, prefix = world.store, world.prefix
    lease = await store.grant(60)
    await store.put(prefix + "a", b"", lease=lease)
    revision = await store.put(prefix + "b", b"", lease=lease)
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert entry.lease == lease
    async with aclosing(store.watch(prefix, Revision(revision + 1))) as batches:
        await anext(batches)
        await store.revoke(lease)
        batch = await asyncio.wait_for(anext(batches), 10)
    assert {(event.kind, event.key) for event in batch.events} == {
        (EventKind.DELETE, prefix + "a"),
        (EventKind.DELETE, prefix + "b"),
    }
    assert {event.mod_revision for event in batch.events} == {batch.revision}


async def test_a_put_without_the_lease_frees_the_key_from_it(world: World) -> None:
    key = world.prefix + "a"
    lease = await world.store.grant(60)
    await world.store.put(key, b"1", lease=lease)
    await world.store.put(key, b"2")
    await world.store.revoke(lease)
    assert await world.store.get(key) is not None


async def test_keep_alive_tells_the_seconds_left_and_zero_when_dead(world: World) -> None:
    lease = await world.store.grant(60)
    assert await world.store.keep_alive(lease) == 60
    await world.store.revoke(lease)
    await world.store.revoke(lease)
    assert await world.store.keep_alive(lease) == 0


async def test_a_put_on_a_dead_lease_writes_nothing(world: World) -> None:
    lease = await world.store.grant(60)
    await world.store.revoke(lease)
    for expected in (None, NO_REVISION):
        with pytest.raises(LeaseGone):
            await world.store.put(world.prefix + "a", b"", lease=lease, expected=expected)
    assert await world.store.get(world.prefix + "a") is None


async def test_a_value_too_large_is_refused(world: World) -> None:
    with pytest.raises(StoreRefused, match="too large"):
        await world.store.put(world.prefix + "a", bytes(1_600_000))


async def test_status_knows_the_leader_and_the_revision(world: World) -> None:
    revision = await world.store.put(world.prefix + "a", b"")
    status = await world.store.status()
    assert status.has_leader
    assert status.revision >= revision
    assert status.version


async def test_a_closed_store_is_unavailable_and_its_watches_end(world: World) -> None:
    batches = world.store.watch(world.prefix, Revision((await world.store.list(world.prefix)).revision + 1))
    await anext(batches)
    await world.store.close()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(anext(batches), 10)
    with pytest.raises(StoreUnavailable):
        await world.store.list(world.prefix)
    await world.store.close()


async def test_follow_misses_nothing_of_a_burst(world: World) -> None:
    keys = [f"{world.prefix}{number}" for number in range(300)]
    async with Follower.of(world.store, world.prefix) as follower:
        await follower.until_connected()
        await asyncio.gather(*(world.store.put(key, key.encode()) for key in keys))
        await follower.until(lambda follower: len(follower.data) == 300)
    assert follower.data == {key: key.encode() for key in keys}
    assert sum(len(update.events) for update in follower.updates) == 300


async def test_follow_carries_a_large_value(world: World) -> None:
    value = bytes(range(256)) * 1200
    async with Follower.of(world.store, world.prefix) as follower:
        await follower.until_connected()
        await world.store.put(world.prefix + "large", value)
        await follower.until_value(world.prefix + "large", value)


async def test_follow_begins_with_the_whole_prefix_even_if_empty(world: World) -> None:
    async with Follower.of(world.store, world.prefix) as follower:
        await follower.until(lambda follower: bool(follower.updates))
        assert (follower.updates[0].events, follower.updates[0].listed) == ((), True)
    await world.store.put(world.prefix + "a", b"1")
    async with Follower.of(world.store, world.prefix) as follower:
        await follower.until_value(world.prefix + "a", b"1")
        assert follower.updates[0].listed
