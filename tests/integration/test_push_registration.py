"""Registration through control into a real etcd, and what becomes of it when control or etcd goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from remora.control.store.errors import StoreError
from remora.control.store.interface import Entry, LeaseId, Store
from remora.control.store.keys import instance_key, instances_prefix
from remora.control.store.memory import MemoryStore
from remora.model.snapshot import Endpoint
from remora.sidecar.source.control import ControlSource
from remora.sidecar.source.registration import Registrar
from tests.support.etcd import EtcdServer
from tests.support.push import ENV, PushControl, Taken, endpoint, name, push_control, running, source
from tests.support.waiting import until

KEY = instance_key(ENV, name("orders"), "orders-1")


@pytest.fixture
async def etcd() -> AsyncIterator[EtcdServer]:
    async with EtcdServer.running() as server:
        yield server


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[Store]:
    store = etcd.store(timeout_s=2.0)
    yield store
    await store.close()


def registrar(**more: object) -> Registrar:
    return Registrar("orders", "default", endpoint("orders-1"), **more)  # type: ignore[arg-type]


def app(control: PushControl, registrar: Registrar) -> ControlSource:
    return source(control, sink=Taken(), node="orders-1", registrar=registrar)


async def entry(store: Store) -> Entry:
    found = await store.get(KEY)
    assert found is not None
    return found


async def until_stored(store: Store, wanted: Endpoint | None) -> None:
    async with asyncio.timeout(30):
        while True:
            found = await store.get(KEY)
            if (found and msgspec.json.decode(found.value, type=Endpoint)) == wanted:
                return
            await asyncio.sleep(0.02)


async def test_an_instance_registers_follows_its_health_and_deregisters(store: Store) -> None:
    taken, registering = Taken(), registrar()
    async with (
        push_control(store) as control,
        running(source(control, sink=taken, services=[name("orders")])) as caller,
        running(app(control, registering)) as sidecar,
    ):
        await until(lambda: caller.synced and sidecar.state().connected)
        registering.set_health(False)
        assert registering.state().phase == "waiting"

        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        lease = registering.state().lease_id
        assert (await entry(store)).lease == lease
        await until(lambda: name("orders") in taken.last.endpoints)
        assert taken.last.endpoints[name("orders")].endpoints == (endpoint("orders-1"),)

        registering.set_health(False)
        await until(lambda: not taken.last.endpoints[name("orders")].endpoints[0].healthy)
        assert (await entry(store)).lease == lease
        assert registering.state().lease_id == lease
        (view,) = [view for view in control.push.sessions() if view.registered]
        assert (view.registered, view.lease_id) == ("orders.default/orders-1", lease)

        # Deregistered is said when the callers here have let go of the instance, not just when etcd has.
        assert await registering.deregister(10) is True
        assert name("orders") not in taken.last.endpoints
        assert registering.state().phase == "deregistered"
        assert await store.get(KEY) is None
        assert await store.keep_alive(LeaseId(lease)) <= 0


async def test_a_revoked_lease_is_replaced(store: Store) -> None:
    registering = registrar()
    async with push_control(store, ttl_s=2) as control, running(app(control, registering)):
        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        first = registering.state().lease_id
        await store.revoke(LeaseId(first))
        assert await store.get(KEY) is None

        await until(lambda: registering.state().lease_id != first)
        assert (await entry(store)).lease == registering.state().lease_id
        assert control.metric("mesh_registrations_total", result="registered_again") == 1


async def test_the_lease_outlives_a_restart_of_control_and_the_key_is_left_alone(store: Store) -> None:
    registering = registrar()
    async with push_control(store) as control, running(app(control, registering)) as sidecar:
        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        before = await entry(store)
        await control.stop()
        await until(lambda: not sidecar.state().connected)
        assert await entry(store) == before
        await control.start()
        await until(lambda: control.push.sessions() and control.push.sessions()[0].registered)
        assert await entry(store) == before


async def test_instances_whose_leases_ended_while_control_was_away_never_vanish_for_callers() -> None:
    store, taken, registering = MemoryStore(), Taken(), registrar()
    async with push_control(store) as control:
        caller = source(control, sink=taken, services=[name("orders")], random=lambda: 0.0)
        callee = source(control, sink=Taken(), node="orders-1", registrar=registering, random=lambda: 0.999)
        async with running(caller), running(callee):
            registering.set_health(True)
            await until(lambda: taken.snapshots and name("orders") in taken.last.endpoints)
            await control.stop()
            await until(lambda: not callee.state().connected)
            store.advance(20)
            assert await store.get(KEY) is None
            control.settle_s = 2.0
            before = len(taken.snapshots)
            await control.start()
            await until(lambda: caller.state().connected)
            # Who has nothing yet is answered at once, with what there is.
            fresh = source(control, sink=Taken(), node="fresh-1")
            async with running(fresh):
                await until(lambda: fresh.synced)
                assert len(taken.snapshots) == before
            await until(lambda: len(taken.snapshots) > before)
            assert all(snapshot.endpoints[name("orders")].endpoints for snapshot in taken.snapshots[before:])
            assert registering.state().phase == "registered"


class CountingStore(MemoryStore):
    """Counts the keepalives that reach it."""

    keep_alives = 0

    async def keep_alive(self, lease: LeaseId) -> int:
        self.keep_alives += 1
        return await super().keep_alive(lease)


async def test_a_lease_is_kept_alive_longer_than_its_ttl() -> None:
    store = CountingStore()
    registering = registrar()
    async with push_control(store, ttl_s=1) as control, running(app(control, registering)):
        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        before = await store.get(KEY)
        for _ in range(3):
            seen = store.keep_alives
            await until(lambda seen=seen: store.keep_alives > seen)  # type: ignore[misc]
            store.advance(0.9)
        assert await store.get(KEY) == before
        assert control.metric("mesh_registrations_total", result="registered") == 1


async def test_a_frozen_etcd_is_told_and_survived(etcd: EtcdServer, store: Store) -> None:
    registering = registrar()
    async with push_control(store, ttl_s=15) as control, running(app(control, registering)):
        await until(lambda: control.push.sessions())
        etcd.freeze()
        try:
            registering.set_health(True)
            await until(lambda: registering.state().phase == "failed")
            assert registering.state().last_error
        finally:
            etcd.thaw()
        await until(lambda: registering.state().phase == "registered")
        await until_stored(store, endpoint("orders-1"))


async def test_etcd_away_at_first_and_back_later() -> None:
    store = MemoryStore()
    registering = registrar()
    async with push_control(store) as control, running(app(control, registering)):
        store.set_available(False)
        registering.set_health(True)
        await until(lambda: registering.state().phase == "failed")
        with pytest.raises(StoreError):
            await store.list(instances_prefix(ENV))
        store.set_available(True)
        await until(lambda: registering.state().phase == "registered")
        assert registering.state().last_error == ""


async def test_deregistering_waits_for_control_no_longer_than_it_may() -> None:
    store = MemoryStore()
    registering = registrar()
    async with push_control(store) as control, running(app(control, registering)) as sidecar:
        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        await control.stop()
        await until(lambda: not sidecar.state().connected)
        assert await registering.deregister(0.05) is False
        # Asked again while control is back: it is said on the new stream.
        await control.start()
        assert await registering.deregister(10) is True
        assert await store.get(KEY) is None


async def test_deregistering_is_said_again_after_a_failed_try() -> None:
    store = MemoryStore()
    registering = registrar()
    async with push_control(store) as control, running(app(control, registering)):
        registering.set_health(True)
        await until(lambda: registering.state().phase == "registered")
        store.set_available(False)
        leaving = asyncio.create_task(registering.deregister(20))
        await until(lambda: registering.state().last_error)
        store.set_available(True)
        assert await leaving is True
        assert await store.get(KEY) is None
        assert control.metric("mesh_registrations_total", result="deregistered") == 1


@pytest.mark.parametrize(
    ("service", "known", "words"),
    [
        ("Orders!", endpoint("orders-1"), "'Orders!' in 'default' is not the name of a service"),
        ("orders", Endpoint("orders-1", "", 0), "no usable address and port"),
        ("orders", Endpoint("or/ders", "127.0.0.1", 80), "'or/ders' is not an instance id"),
    ],
)
async def test_a_registration_that_cannot_be_is_refused_in_words(service: str, known: Endpoint, words: str) -> None:
    registering = Registrar(service, "default", known)
    async with push_control(MemoryStore()) as control, running(app(control, registering)):
        registering.set_health(True)
        await until(lambda: words in registering.state().last_error)
        assert registering.state().phase == "failed"
