"""Status keys against a store in memory: written once per change, by however many replicas."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from remora.control.compile import Catalog
from remora.control.compile.metrics import CompileMetrics
from remora.control.compile.status_writer import StatusWriter
from remora.control.store.follow import Backoff, follow
from remora.control.store.keys import config_key, env_prefix, status_key, status_prefix
from remora.control.store.memory import MemoryStore

NAME = ("dev", "HTTPRoute", "default", "reviews")
GOOD = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  rules: [{backendRefs: [{name: a}]}]
"""
BAD = GOOD.replace(b"backendRefs", b"backends")


class Replica:
    """Catalog, writer and metrics, following a store."""

    def __init__(self, store: MemoryStore) -> None:
        self.catalog = Catalog("dev")
        self.registry = CollectorRegistry()
        self._metrics = CompileMetrics(self.registry)
        self._store = store
        self._writer = StatusWriter(store, self.catalog, "dev", now=lambda: 0.0, backoff=Backoff(0.001, 0.01))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Replica]:
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._writer.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _follow(self) -> None:
        async with aclosing(follow(self._store, env_prefix("dev"), backoff=Backoff(0.001, 0.01))) as updates:
            async for update in updates:
                changes = self.catalog.apply(update.events, update.revision)
                self._metrics.take(self.catalog, changes)
                self._writer.take(update.events, changes)


async def status_when(store: MemoryStore, revision: int | None) -> dict[str, Any]:
    """The status once it is about this revision (None: gone)."""
    async with asyncio.timeout(5), aclosing(follow(store, status_prefix("dev"))) as updates:
        async for _ in updates:
            entry = await store.get(status_key(*NAME))
            record: Any = json.loads(entry.value) if entry else {}
            if isinstance(record, dict) and record.get("revision") == revision:
                return record
    raise AssertionError("the watch ended")


async def quiet(store: MemoryStore) -> int:
    """The store's revision once nothing has been written for a good number of turns of the loop."""
    async with asyncio.timeout(5):
        while True:
            before = (await store.status()).revision
            for _ in range(200):
                await asyncio.sleep(0)
            if (await store.status()).revision == before:
                return before


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    yield store
    await store.close()


async def test_accepted_refused_and_gone(store: MemoryStore) -> None:
    async with Replica(store).running() as replica:
        first = await store.put(config_key(*NAME), GOOD)
        record = await status_when(store, first)
        assert record["accepted"] is True
        assert record["active"]["revision"] == first
        assert record["at"] == "1970-01-01T00:00:00Z"
        second = await store.put(config_key(*NAME), BAD)
        record = await status_when(store, second)
        assert record["accepted"] is False
        assert record["errors"][0]["path"] == "spec.rules[0].backends"
        assert record["active"]["revision"] == first
        assert replica.registry.get_sample_value("mesh_config_rejected_total", {"kind": "HTTPRoute"}) == 1
        assert replica.registry.get_sample_value("mesh_config_refused", {"kind": "HTTPRoute"}) == 1
        await store.delete(config_key(*NAME))
        await status_when(store, None)
        assert replica.registry.get_sample_value("mesh_config_refused", {"kind": "HTTPRoute"}) == 0


async def test_replicas_write_once(store: MemoryStore) -> None:
    async with Replica(store).running(), Replica(store).running(), Replica(store).running():
        wrote = await store.put(config_key(*NAME), BAD)
        await status_when(store, wrote)
        # One write of a document, one of its status: nobody else wrote anything.
        assert await quiet(store) == wrote + 1


async def test_a_replica_that_starts_later_writes_nothing(store: MemoryStore) -> None:
    async with Replica(store).running():
        wrote = await store.put(config_key(*NAME), GOOD)
        await status_when(store, wrote)
    async with Replica(store).running() as late:
        assert await quiet(store) == wrote + 1
        assert late.catalog.revision == wrote + 1


async def test_a_replica_that_starts_beside_a_bad_document_uses_the_last_good_one(store: MemoryStore) -> None:
    async with Replica(store).running() as first:
        wrote = await store.put(config_key(*NAME), GOOD)
        await status_when(store, wrote)
        name = first.catalog.names()[0]
    bad = await store.put(config_key(*NAME), BAD)
    async with Replica(store).running() as late:
        record = await status_when(store, bad)
        assert record["active"]["revision"] == wrote
        assert late.catalog.service(name) == first.catalog.service(name)


async def test_another_view_of_the_same_revision_is_not_fought_over(store: MemoryStore) -> None:
    async with Replica(store).running():
        wrote = await store.put(config_key(*NAME), GOOD)
        await status_when(store, wrote)
        other = json.dumps({"revision": wrote, "accepted": False, "at": "x"}).encode()
        theirs = await store.put(status_key(*NAME), other)
        assert await quiet(store) == theirs


async def test_rubbish_and_orphans_under_status_keys_are_cleared(store: MemoryStore) -> None:
    await store.put(status_key("dev", "HTTPRoute", "default", "orphan"), b"{}")
    await store.put(status_key(*NAME), b'"rubbish"')
    wrote = await store.put(config_key(*NAME), GOOD)
    async with Replica(store).running():
        assert (await status_when(store, wrote))["accepted"] is True
        await quiet(store)
        assert await store.get(status_key("dev", "HTTPRoute", "default", "orphan")) is None


async def test_an_outage_delays_the_status(store: MemoryStore) -> None:
    async with Replica(store).running() as replica:
        await quiet(store)
        wrote = await store.put(config_key(*NAME), GOOD)
        async with asyncio.timeout(5):
            while not replica.catalog.names():
                await asyncio.sleep(0)
        store.set_available(False)
        for _ in range(50):
            await asyncio.sleep(0)
        store.set_available(True)
        await status_when(store, wrote)
