"""What control says unasked: the policy of the service that a sidecar stands before."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from remora.control.push.resources import ENDPOINTS, OWN, SERVICE, Resources
from remora.control.push.session import Session
from remora.control.store.memory import MemoryStore
from remora.model.policies import AdaptiveConcurrency, ServicePolicy
from remora.model.snapshot import Service
from remora.sidecar.source.control import ControlSource, Node
from tests.support.push import PlainCatalog, Taken, endpoints_of, name, push_control, routed, running
from tests.support.waiting import until

LIMITED = ServicePolicy(concurrency=AdaptiveConcurrency())


class Mesh:
    def __init__(self, *own: str) -> None:
        self.catalog = PlainCatalog()
        self.resources = Resources(self.catalog)
        self.session = Session(self.resources, map(name, own))

    def put(self, part: Service) -> bool:
        services, endpoint_sets = self.resources.refresh(self.catalog.put(part))
        return self.session.changed(services, endpoint_sets, 1.0)

    def take(self) -> tuple[list[tuple[int, str]], list[str]]:
        delta = self.session.next_delta()
        assert delta is not None
        assert self.session.ack(delta.nonce)
        return [(resource.kind, resource.name) for resource in delta.upserts], list(delta.removals)


def limited(service: str) -> Service:
    return msgspec.structs.replace(routed(service, "stock"), policy=LIMITED)


def test_own_policy_comes_with_the_first_answer_without_routes_or_endpoints() -> None:
    mesh = Mesh("orders")
    assert not mesh.put(limited("orders"))
    assert mesh.session.next_delta() is None, "it would be taken for the answer to the first subscription"
    mesh.session.subscribe([])
    delta = mesh.session.next_delta()
    assert delta is not None
    (own,) = delta.upserts
    assert msgspec.json.decode(own.body, type=Service) == Service(name("orders"), policy=LIMITED)


def test_a_change_that_concerns_callers_alone_sends_nothing() -> None:
    mesh = Mesh("orders")
    mesh.put(limited("orders"))
    mesh.session.subscribe([])
    assert mesh.take() == ([(OWN, "orders.default")], [])
    mesh.put(msgspec.structs.replace(limited("orders"), routes=()))
    assert mesh.session.next_delta() is None


def test_own_policy_goes_when_nothing_is_said_any_more_and_what_callers_need_stays() -> None:
    mesh = Mesh("orders")
    mesh.catalog.put(endpoints_of("orders", "o-1"))
    mesh.put(limited("orders"))
    mesh.session.subscribe([name("orders")])
    mesh.take()
    mesh.put(routed("orders", "stock"))
    both = [(ENDPOINTS, "orders.default"), (SERVICE, "orders.default")]
    assert mesh.take() == (both, ["orders.default"])


def test_what_is_said_of_the_version_comes_first() -> None:
    mesh = Mesh("orders-v2", "orders")
    mesh.session.subscribe([])
    assert mesh.take() == ([], [])
    mesh.put(limited("orders"))
    assert mesh.take() == ([(OWN, "orders.default")], [])
    mesh.put(limited("orders-v2"))
    assert mesh.take() == ([(OWN, "orders-v2.default")], ["orders.default"])


async def test_a_sidecar_follows_its_own_policy_and_forgets_it_with_control() -> None:
    taken, node = Taken(), Node("o-1", "orders", version="v2")
    async with push_control(MemoryStore()) as control:
        sidecar = ControlSource([control.address], node, taken)
        async with running(sidecar):
            await until(lambda: sidecar.synced)
            assert taken.last.own is None
            control.put(limited("orders"))
            await until(lambda: taken.last.own == Service(name("orders"), policy=LIMITED))
            assert taken.last.services == {}, "its app has not called it"

            known = sidecar.subscribe(name("orders"))
            assert await known, "own policy is no answer to a caller's question"
            assert name("orders") in taken.last.services

            control.put(limited("orders-v2"))
            await until(lambda: taken.last.own is not None and taken.last.own.name == name("orders-v2"))
            assert name("orders") in taken.last.services

        control.catalog.services.clear()
        later = ControlSource([control.address], replace(node, id="o-2"), taken, initial=taken.last)
        async with running(later):
            await until(lambda: later.synced)
            assert taken.last.own is None
