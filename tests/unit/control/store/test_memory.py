"""What the memory store has beyond the contract: its clock and its faults."""

from __future__ import annotations

import pytest

from remora.control.store.errors import StoreUnavailable
from remora.control.store.interface import Revision
from remora.control.store.memory import MemoryStore


async def test_a_lease_ends_when_its_time_is_over_unless_kept_alive() -> None:
    store = MemoryStore()
    kept, forgotten = await store.grant(10), await store.grant(10)
    await store.put("/kept", b"", lease=kept)
    await store.put("/forgotten", b"", lease=forgotten)
    store.advance(9)
    assert await store.keep_alive(kept) == 10
    store.advance(1)
    assert [entry.key for entry in (await store.list("/")).entries] == ["/kept"]
    assert await store.keep_alive(forgotten) == 0


async def test_expire_ends_a_lease_now() -> None:
    store = MemoryStore()
    lease = await store.grant(10)
    await store.put("/a", b"", lease=lease)
    store.expire(lease)
    store.expire(lease)
    assert await store.get("/a") is None


async def test_an_outage_fails_calls_and_ends_watches() -> None:
    store = MemoryStore()
    batches = store.watch("/", Revision(2))
    await anext(batches)
    store.set_available(False)
    with pytest.raises(StoreUnavailable):
        await store.put("/a", b"")
    store.set_available(True)
    with pytest.raises(StoreUnavailable):
        await anext(batches)
    await store.put("/a", b"")
