from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from remora.control.push.connection import Connection
from remora.control.push.debounce import Debounce
from remora.control.push.hub import Hub
from remora.control.push.metrics import PushMetrics
from remora.model.snapshot import EndpointSet
from remora.proto.mesh.v1 import discovery_pb2 as pb
from tests.support.push import PlainCatalog, endpoints_of, name
from tests.support.waiting import until


class Mesh:
    def __init__(self) -> None:
        self.catalog = PlainCatalog()
        self.hub = Hub(self.catalog, PushMetrics(CollectorRegistry()), Debounce(0.0, 0.0))

    def connect(self, node: str, *services: str) -> Connection:
        connection = Connection(pb.Hello(node=node), "127.0.0.1:1", self.hub.resources)
        self.hub.add(connection)
        connection.session.subscribe(map(name, services))
        return connection

    def answer(self, connection: Connection) -> bool:
        delta = self.hub.next_delta(connection)
        if delta is not None:
            self.hub.ack(connection, delta.nonce)
        return delta is not None


async def test_an_instance_is_unused_when_the_last_caller_has_acked_or_left() -> None:
    mesh = Mesh()
    mesh.catalog.put(endpoints_of("orders", "o-1", "o-2"))
    quick, slow, leaving = (mesh.connect(node, "orders") for node in ("quick", "slow", "leaving"))
    other = mesh.connect("other", "stock")
    for connection in (quick, slow, leaving, other):
        assert mesh.answer(connection)

    waiting = asyncio.create_task(mesh.hub.wait_unused((name("orders"),), "o-1", 30))
    mesh.hub.changed(mesh.catalog.put(endpoints_of("orders", "o-2")))
    await until(lambda: mesh.answer(quick))
    under_way = mesh.hub.next_delta(slow)
    assert under_way is not None
    mesh.hub.remove(leaving)
    assert not waiting.done()
    mesh.hub.ack(slow, under_way.nonce)
    assert await waiting is True
    assert not mesh.answer(other)


async def test_a_caller_that_never_answers_is_waited_for_no_longer_than_asked() -> None:
    mesh = Mesh()
    mesh.catalog.put(endpoints_of("orders", "o-1"))
    assert mesh.answer(mesh.connect("silent", "orders"))
    mesh.hub.changed(mesh.catalog.put(EndpointSet(name("orders"))))
    assert await mesh.hub.wait_unused((name("orders"),), "o-1", 0.05) is False
    mesh.hub.close()


async def test_what_nobody_watches_is_forgotten() -> None:
    mesh = Mesh()
    mesh.catalog.put(endpoints_of("orders", "o-1"), endpoints_of("stock", "s-1"))
    first, second = mesh.connect("first", "orders"), mesh.connect("second", "orders", "stock")
    for connection in (first, second):
        mesh.answer(connection)
    assert len(mesh.hub.resources) == 4
    shared = [connection.session.holds((2, name("orders")))[0] for connection in (first, second)]
    assert shared[0] is shared[1]
    mesh.hub.remove(second)
    assert len(mesh.hub.resources) == 2
    mesh.hub.remove(first)
    assert len(mesh.hub.resources) == 0
