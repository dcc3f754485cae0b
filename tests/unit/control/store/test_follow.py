"""follow(): nothing is missed, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from hypothesis import given, settings
from hypothesis import strategies as st

from remora.control.store.errors import StoreDenied
from remora.control.store.follow import Backoff, FollowState, follow
from remora.control.store.interface import EventKind, Listing, Revision, WatchBatch
from remora.control.store.memory import MemoryStore
from tests.support.follower import Follower


async def test_the_first_update_is_the_whole_prefix() -> None:
    store = MemoryStore()
    revision = await store.put("/a/x", b"1")
    async with aclosing(follow(store, "/a/")) as updates:
        update = await anext(updates)
    assert update.listed
    assert [(event.kind, event.key, event.value) for event in update.events] == [(EventKind.PUT, "/a/x", b"1")]
    assert update.revision == revision


async def test_changes_during_an_outage_come_without_a_new_list() -> None:
    store = MemoryStore()
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        store.set_available(False)
        assert (await follower.until_disconnected()).error == "the store went away"
        store.set_available(True)
        await store.put("/a/x", b"1")
        await follower.until_value("/a/x", b"1")
        assert [update.listed for update in follower.updates] == [True, False]


async def test_after_compaction_deletions_are_made_up_and_the_unchanged_stays_unsaid() -> None:
    store = MemoryStore()
    for name in ("gone", "same", "changed"):
        await store.put(f"/a/{name}", b"1")
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        store.set_available(False)
        await follower.until_disconnected()
        store.set_available(True)
        await store.delete("/a/gone")
        await store.put("/a/changed", b"2")
        store.compact()
        await follower.until_value("/a/changed", b"2")
        assert follower.data == {"/a/same": b"1", "/a/changed": b"2"}
        last = follower.updates[-1]
        assert last.listed
        assert [(event.kind, event.key) for event in last.events] == [
            (EventKind.PUT, "/a/changed"),
            (EventKind.DELETE, "/a/gone"),
        ]


async def test_a_key_made_anew_while_away_counts_as_changed() -> None:
    store = MemoryStore()
    await store.put("/a/x", b"1")
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        store.set_available(False)
        await follower.until_disconnected()
        store.set_available(True)
        await store.delete("/a/x")
        await store.put("/a/x", b"1")
        store.compact()
        await follower.until(lambda follower: len(follower.updates) == 2)
        assert [event.kind for event in follower.updates[-1].events] == [EventKind.PUT]


class Guarded(MemoryStore):
    """Denies until someone grants."""

    granted = False

    async def list(self, prefix: str) -> Listing:
        if not self.granted:
            raise StoreDenied("permission denied")
        return await super().list(prefix)


async def test_denied_access_is_told_once_and_tried_on() -> None:
    store = Guarded()
    async with Follower.of(store, "/a/") as follower:
        assert (await follower.until_disconnected()).error == "permission denied"
        store.granted = True
        await follower.until_connected()
        assert follower.states == [FollowState(False, "permission denied"), FollowState(True)]


class Forgetful(MemoryStore):
    """Compacts after each list, so that no watch ever stands."""

    lists = 0

    async def list(self, prefix: str) -> Listing:
        self.lists += 1
        await super().put("/elsewhere", b"")
        listing = await super().list(prefix)
        await super().put("/elsewhere", b"")
        self.compact()
        return listing

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        async with aclosing(super().watch(prefix, from_revision)) as batches:
            async for batch in batches:
                yield batch


async def test_listing_again_and_again_is_slowed_down() -> None:
    store = Forgetful()

    async def run() -> None:
        async with aclosing(follow(store, "/a/", backoff=Backoff(base_s=10, cap_s=10))) as updates:
            async for _ in updates:
                pass

    task = asyncio.create_task(run())
    for _ in range(1000):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert store.lists <= 2


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_cap(failures: int, share: float) -> None:
    assert 0 <= Backoff(0.1, 5.0).delay_s(failures, share) <= 5.0


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [Backoff(1, 5).delay_s(failures, 1.0) for failures in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc")),
        st.tuples(st.just("delete"), st.sampled_from("abc")),
        st.tuples(st.sampled_from(["compact", "outage", "yield"]), st.just("")),
    ),
    max_size=30,
)


@settings(max_examples=100)
@given(STEPS)
def test_a_follower_always_ends_up_with_what_the_store_has(steps: list[tuple[str, str]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str]]) -> None:
    store = MemoryStore()
    async with Follower.of(store, "/a/") as follower:
        for number, (step, key) in enumerate(steps):
            await _do(store, step, f"/a/{key}", b"%d" % number)
        await store.put("/a/end", b"")
        await follower.until_value("/a/end", b"")
        assert follower.data == {entry.key: entry.value for entry in (await store.list("/a/")).entries}
        revisions = [update.revision for update in follower.updates]
        assert revisions == sorted(revisions)


async def _do(store: MemoryStore, step: str, key: str, value: bytes) -> None:
    match step:
        case "put":
            await store.put(key, value)
        case "delete":
            await store.delete(key)
        case "compact":
            store.compact()
        case "outage":
            store.set_available(False)
            await asyncio.sleep(0)
            store.set_available(True)
        case "yield":
            await asyncio.sleep(0)
