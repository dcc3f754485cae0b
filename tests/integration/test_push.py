"""Push over real sockets: control's server and the sidecar's source, a store in memory between them."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack

import msgspec
import pytest
from grpclib.client import Channel, Stream
from grpclib.exceptions import GRPCError

from remora.control.store.keys import instance_key
from remora.control.store.memory import MemoryStore
from remora.model.address import Address
from remora.model.snapshot import EndpointSet, Snapshot, SnapshotError
from remora.proto.mesh.v1.discovery_grpc import DiscoveryStub
from remora.proto.mesh.v1.discovery_pb2 import Ack, ControlMessage, Hello, SidecarMessage, Subscribe
from remora.sidecar.source.control import ControlSource, Node
from tests.support.push import (
    DEADLINE_S,
    ENV,
    PushControl,
    Taken,
    endpoint,
    endpoints_of,
    name,
    push_control,
    routed,
    running,
    source,
)
from tests.support.relay import Relay
from tests.support.waiting import until


async def put_instance(store: MemoryStore, service: str, instance: str) -> None:
    body = msgspec.json.encode(endpoint(instance))
    await store.put(instance_key(ENV, name(service), instance), body)


def ids(snapshot: Snapshot, service: str) -> list[str]:
    return [known.id for known in snapshot.endpoints[name(service)].endpoints]


async def test_a_configured_service_arrives_at_once_and_its_instances_follow() -> None:
    store, taken = MemoryStore(), Taken()
    await put_instance(store, "orders", "orders-1")
    async with (
        push_control(store) as control,
        running(source(control, sink=taken, services=[name("orders")])) as sidecar,
    ):
        await until(lambda: sidecar.synced)
        assert ids(taken.last, "orders") == ["orders-1"]
        services_sent = control.metric("mesh_pushes_total", kind="service")

        await put_instance(store, "orders", "orders-2")
        await until(lambda: ids(taken.last, "orders") == ["orders-1", "orders-2"])

        assert control.metric("mesh_pushes_total", kind="service") == services_sent == 1
        assert taken.last.services[name("orders")] is taken.snapshots[0].services[name("orders")]
        await until(lambda: control.metric("mesh_push_duration_seconds_count") == 1)
        assert control.metric("mesh_sidecars_connected") == 1


async def test_a_change_of_another_service_sends_nothing() -> None:
    store, taken, other = MemoryStore(), Taken(), Taken()
    async with (
        push_control(store) as control,
        running(source(control, sink=taken, services=[name("orders")])) as sidecar,
        running(source(control, sink=other, node="caller-2", services=[name("stock")])) as elsewhere,
    ):
        await until(lambda: sidecar.synced and elsewhere.synced)
        before = sidecar.state().deltas
        await put_instance(store, "stock", "stock-1")
        await until(lambda: elsewhere.known(name("stock")))
        assert sidecar.state().deltas == before


async def test_a_service_on_demand_is_answered_known_or_not_and_comes_when_it_appears() -> None:
    store, taken = MemoryStore(), Taken()
    await put_instance(store, "orders", "orders-1")
    async with push_control(store) as control, running(source(control, sink=taken)) as sidecar:
        assert sidecar.known(name("orders")) is None
        assert await sidecar.subscribe(name("orders")) is True
        assert ids(taken.last, "orders") == ["orders-1"]
        assert await sidecar.subscribe(name("nobody")) is False
        assert sidecar.known(name("nobody")) is False
        assert sidecar.subscribe(name("nobody")).done()

        await put_instance(store, "nobody", "nobody-1")
        await until(lambda: sidecar.known(name("nobody")))
        assert ids(taken.last, "nobody") == ["nobody-1"]


async def test_backends_come_with_the_routes_that_need_them_and_go_after() -> None:
    taken = Taken()
    async with push_control(MemoryStore()) as control:
        control.put(endpoints_of("reviews", "r-1"), endpoints_of("reviews-v2", "r-2"))
        async with running(source(control, sink=taken, services=[name("reviews")])):
            await until(lambda: taken.snapshots)
            assert set(taken.last.endpoints) == {name("reviews")}

            control.put(routed("reviews", "reviews", "reviews-v2"))
            await until(lambda: taken.last.services[name("reviews")].routes)
            assert ids(taken.last, "reviews-v2") == ["r-2"]
            assert set(taken.last.services) == {name("reviews")}

            control.put(routed("reviews", "reviews"))
            await until(lambda: name("reviews-v2") not in taken.last.endpoints)
            for snapshot in taken.snapshots:
                routes = snapshot.services[name("reviews")].routes
                used = {backend.service for route in routes for backend in route.backends}
                assert used <= set(snapshot.endpoints)


async def test_a_refused_version_changes_nothing_and_holds_up_nothing() -> None:
    taken = Taken()

    def check(snapshot: Snapshot) -> None:
        for service in snapshot.services.values():
            if any(route.name == "broken" for route in service.routes):
                raise SnapshotError(f"{service.name}: route broken does not compile")

    taken.check = check
    async with push_control(MemoryStore()) as control:
        control.put(routed("orders", "orders"), routed("stock", "stock"))
        control.put(endpoints_of("orders", "o-1"), endpoints_of("stock", "s-1"))
        async with running(source(control, sink=taken, services=[name("orders"), name("stock")])) as sidecar:
            await until(lambda: sidecar.synced)
            control.put(
                routed("orders", "orders", "orders-v2", route="broken"),
                routed("stock", "stock", route="better"),
                endpoints_of("orders", "o-1", "o-2"),
                endpoints_of("stock", "s-1", "s-2"),
            )
            await until(lambda: taken.last.services[name("stock")].routes[0].name == "better")
            await until(
                lambda: ids(taken.last, "orders") == ["o-1", "o-2"] and ids(taken.last, "stock") == ["s-1", "s-2"]
            )
            assert taken.last.services[name("orders")].routes[0].name == "canary"
            await until(lambda: not control.push.sessions()[0].in_flight)
            view = control.push.sessions()[0]
            assert view.last_nack == "orders.default: route broken does not compile"
            assert sidecar.state().last_nack == view.last_nack
            assert control.metric("mesh_push_nacks_total") == view.nacks

            control.put(routed("orders", "orders", route="mended"))
            await until(lambda: taken.last.services[name("orders")].routes[0].name == "mended")
            assert control.push.sessions()[0].nacks == view.nacks


async def test_after_a_restart_of_control_what_vanished_meanwhile_is_gone() -> None:
    store, taken = MemoryStore(), Taken()
    async with push_control(store) as control:
        control.put(endpoints_of("orders", "o-1"), endpoints_of("stock", "s-1"))
        async with running(source(control, sink=taken, services=[name("orders"), name("stock")])) as sidecar:
            await until(lambda: sidecar.known(name("orders")) and sidecar.known(name("stock")))
            await control.stop()
            await until(lambda: not sidecar.state().connected)
            assert sidecar.known(name("stock")) is True
            assert sidecar.subscribe(name("nobody")).result() is False
            del control.catalog.endpoint_sets[name("stock")]
            control.catalog.put(endpoints_of("orders", "o-2"))
            await control.start()
            await until(lambda: ids(taken.last, "orders") == ["o-2"])
            assert set(taken.last.services) == {name("orders")}
            await until(lambda: sidecar.known(name("stock")) is False)
            assert sidecar.known(name("nobody")) is False


async def test_a_control_that_has_not_read_the_store_takes_nothing_away() -> None:
    taken = Taken()
    initial = Snapshot(7).with_parts(7, (routed("orders", "orders"),), (endpoints_of("orders", "o-1"),))
    control = PushControl(MemoryStore())
    await control.start(ready=False)
    try:
        async with running(source(control, sink=taken, initial=initial)) as sidecar:
            await until(lambda: "has not read the store" in sidecar.state().last_error)
            assert sidecar.known(name("orders")) is True
            assert not taken.snapshots
            control.put(endpoints_of("orders", "o-9"))
            control.push.mark_ready()
            await until(lambda: taken.snapshots)
            assert ids(taken.last, "orders") == ["o-9"]
    finally:
        await control.stop()


async def test_the_source_goes_to_the_replica_that_answers() -> None:
    taken = Taken()
    store = MemoryStore()
    async with (
        push_control(store) as first,
        push_control(store) as second,
        running(source(first, second, sink=taken, services=[name("orders")], random=lambda: 0.0)) as sidecar,
    ):
        await until(lambda: sidecar.synced)
        assert sidecar.state().control == str(first.address)
        await first.stop()
        await until(lambda: second.push.sessions())
        await until(lambda: sidecar.state().connected)
        assert sidecar.state().control == str(second.address)


async def test_a_frozen_control_is_noticed() -> None:
    """Behind a relay that stops relaying, as a stopped process or a dropped route would look: no FIN, no RST."""
    taken = Taken()
    async with push_control(MemoryStore()) as control, Relay.to(control.port) as relay:
        through = ControlSource([Address("127.0.0.1", relay.port)], Node("caller-1"), taken, services=[name("orders")])
        async with running(through):
            await until(lambda: through.synced)
            relay.freeze()
            frozen_at = time.monotonic()
            await until(lambda: not through.state().connected)
            assert time.monotonic() - frozen_at < 9
            relay.thaw()
            await until(lambda: through.state().connected)


async def test_a_sidecar_stops_though_control_goes_at_the_same_moment() -> None:
    for turns in range(6):  # of the loop: in one of them grpclib is about to tell that the connection is lost
        async with push_control(MemoryStore()) as control, Relay.to(control.port) as relay:
            address = Address("127.0.0.1", relay.port)
            stopping = ControlSource([address], Node("caller-1"), Taken(), services=[name("orders")])
            stopping.start()
            await until(lambda stopping=stopping: stopping.synced)  # type: ignore[misc]
            relay.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_S):
                await stopping.stop()


async def test_a_control_stops_at_once_though_sidecars_are_connected_one_of_them_frozen() -> None:
    async with push_control(MemoryStore()) as control, Relay.to(control.port) as relay, AsyncExitStack() as stack:
        frozen = ControlSource([Address("127.0.0.1", relay.port)], Node("frozen"), Taken(), services=[name("orders")])
        for sidecar in (frozen, *(source(control, sink=Taken(), node=f"caller-{n}") for n in range(5))):
            await stack.enter_async_context(running(sidecar))
        await until(lambda: len(control.push.sessions()) == 6)
        relay.freeze()
        control.put(endpoints_of("orders", "o-1"))
        begun = time.monotonic()
        await control.stop()
        assert time.monotonic() - begun < 2.0
        relay.thaw()


async def test_a_slow_sidecar_holds_up_nobody_and_then_gets_the_newest() -> None:
    taken = Taken()
    async with push_control(MemoryStore()) as control, Channel("127.0.0.1", control.port) as channel:
        control.put(endpoints_of("orders", "o-0"))
        async with (
            running(source(control, sink=taken, services=[name("orders")])) as sidecar,
            DiscoveryStub(channel).Stream.open() as slow,
        ):
            await until(lambda: sidecar.synced)
            await slow.send_message(SidecarMessage(hello=Hello(node="slow-1")))
            await slow.send_message(SidecarMessage(subscribe=Subscribe(services=["orders.default"])))
            assert (await received(slow)).WhichOneof("message") == "welcome"
            unanswered = (await received(slow)).delta

            for number in range(1, 6):
                control.put(endpoints_of("orders", f"o-{number}"))
                await until(lambda number=number: ids(taken.last, "orders") == [f"o-{number}"])  # type: ignore[misc]

            await slow.send_message(SidecarMessage(ack=Ack(nonce=unanswered.nonce)))
            newest = (await received(slow)).delta
            assert newest.nonce == unanswered.nonce + 1
            (resource,) = newest.upserts
            assert msgspec.json.decode(resource.body, type=EndpointSet) == endpoints_of("orders", "o-5")
            await slow.cancel()


async def received(stream: Stream[SidecarMessage, ControlMessage]) -> ControlMessage:
    async with asyncio.timeout(DEADLINE_S):
        message = await stream.recv_message()
    assert message is not None
    return message


async def test_an_unused_subscription_is_given_back() -> None:
    taken = Taken()
    async with push_control(MemoryStore()) as control:
        control.put(endpoints_of("orders", "o-1"), endpoints_of("stock", "s-1"), endpoints_of("users", "u-1"))
        async with running(source(control, sink=taken, max_on_demand=2)) as sidecar:
            for service in ("orders", "stock", "users"):
                assert await sidecar.subscribe(name(service))
            await until(lambda: name("orders") not in taken.last.services)
            assert not sidecar.is_subscribed(name("orders"))
            await until(lambda: control.push.sessions()[0].subscriptions == (name("stock"), name("users")))
            assert set(taken.last.endpoints) == {name("stock"), name("users")}


async def test_sidecars_that_go_away_leave_no_trace_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with push_control(MemoryStore()) as control:
        control.put(endpoints_of("orders", "o-1"))
        async with Relay.to(control.port) as relay:
            address = Address("127.0.0.1", relay.port)
            cut_off = ControlSource([address], Node("caller-1"), Taken(), services=[name("orders")])
            async with running(cut_off):
                await until(lambda: cut_off.synced)
                relay.abort()
                await until(lambda: not cut_off.state().connected)
            leaving = source(control, sink=Taken(), node="caller-2", services=[name("orders")])
            async with running(leaving):
                await until(lambda: leaving.synced)
        await until(lambda: not control.push.sessions())
    faults = [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]
    assert faults == []


async def test_a_sink_that_fails_in_another_way_is_a_nack_too(caplog: pytest.LogCaptureFixture) -> None:
    taken = Taken()

    def fail(snapshot: Snapshot) -> None:
        raise KeyError("weights")

    async with push_control(MemoryStore()) as control, running(source(control, sink=taken)) as sidecar:
        control.put(endpoints_of("orders", "o-1"), endpoints_of("stock", "s-1"))
        assert await sidecar.subscribe(name("stock"))
        taken.check = fail
        assert await sidecar.subscribe(name("orders")) is False
        await until(lambda: "a fault of the sidecar: KeyError" in control.push.sessions()[0].last_nack)
        assert sidecar.state().connected
        assert "could not be put to use" in caplog.text


async def test_what_is_not_our_protocol_is_refused_in_words() -> None:
    async with push_control(MemoryStore()) as control:
        async with Channel("127.0.0.1", control.port) as channel:
            with pytest.raises(GRPCError, match="first message of a stream must be Hello"):
                await DiscoveryStub(channel).Stream([SidecarMessage(subscribe=Subscribe())])
            hello = SidecarMessage(hello=Hello(node="n-1"))
            with pytest.raises(GRPCError, match="'No Name' is not a service"):
                await DiscoveryStub(channel).Stream([hello, SidecarMessage(subscribe=Subscribe(services=["No Name"]))])
        await until(lambda: not control.push.sessions())


async def test_a_port_in_use_is_an_os_error() -> None:
    with socket.socket() as taken_port:
        taken_port.bind(("127.0.0.1", 0))
        taken_port.listen()
        control = PushControl(MemoryStore())
        control.port = taken_port.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await control.start()
