"""Sessions without sockets: a plain sidecar of a few lines takes the deltas in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.control.push.resources import ENDPOINTS, SERVICE, Resources
from remora.control.push.session import Session
from remora.model.names import ServiceName
from remora.model.snapshot import EndpointSet, Service
from remora.proto.mesh.v1 import discovery_pb2 as pb
from tests.support.push import PlainCatalog, endpoints_of, name, routed


class Sidecar:
    """Applies deltas as the real one does; refuses those whose result `accepts` says no to."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.services: dict[ServiceName, Service] = {}
        self.endpoints: dict[ServiceName, EndpointSet] = {}
        self.deltas: list[pb.Delta] = []
        self.accepts: Callable[[dict[ServiceName, Service]], bool] = lambda services: True

    def take_one(self) -> pb.Delta | None:
        delta = self.session.next_delta()
        if delta is None:
            return None
        self.deltas.append(delta)
        services = {key: part for key, part in self.services.items() if key not in delta.removals}
        endpoints = {key: part for key, part in self.endpoints.items() if key not in delta.removals}
        for resource in delta.upserts:
            if resource.kind == SERVICE:
                services[ServiceName(resource.name)] = msgspec.json.decode(resource.body, type=Service)
            else:
                endpoints[ServiceName(resource.name)] = msgspec.json.decode(resource.body, type=EndpointSet)
        if self.accepts(services):
            self.services, self.endpoints = services, endpoints
            assert self.session.ack(delta.nonce)
        else:
            assert self.session.nack(delta.nonce)
        self.check()
        return delta

    def check(self) -> None:
        """At no time does a route point to endpoints that are not here."""
        for service in self.services.values():
            needed = {backend.service for route in service.routes for backend in route.backends}
            assert needed | {service.name} <= set(self.endpoints), (service, self.endpoints)

    def settle(self) -> None:
        for _ in range(100):
            if self.take_one() is None:
                return
        raise AssertionError("the session does not come to rest")


class Mesh:
    def __init__(self) -> None:
        self.catalog = PlainCatalog()
        self.resources = Resources(self.catalog)
        self.session = Session(self.resources)
        self.sidecar = Sidecar(self.session)

    def put(self, *parts: Service | EndpointSet) -> bool:
        return self.changed(self.catalog.put(*parts))

    def changed(self, names: set[ServiceName]) -> bool:
        services, endpoint_sets = self.resources.refresh(names)
        return self.session.changed(services, endpoint_sets, 1.0)


def sent(delta: pb.Delta | None) -> list[tuple[int, str]]:
    assert delta is not None
    return [(resource.kind, resource.name) for resource in delta.upserts]


def test_every_subscription_is_answered_even_an_empty_one() -> None:
    mesh = Mesh()
    assert mesh.session.next_delta() is None
    mesh.session.subscribe([])
    delta = mesh.sidecar.take_one()
    assert delta is not None
    assert (sent(delta), list(delta.unknown)) == ([], [])

    mesh.session.subscribe([name("nobody")])
    delta = mesh.sidecar.take_one()
    assert delta is not None
    assert list(delta.unknown) == ["nobody.default"]


def test_what_is_subscribed_again_is_sent_again() -> None:
    mesh = Mesh()
    mesh.put(endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("orders")])
    first = sent(mesh.sidecar.take_one())
    assert first == [(ENDPOINTS, name("orders")), (SERVICE, name("orders"))]
    mesh.session.subscribe([name("orders")])
    assert sent(mesh.sidecar.take_one()) == first


def test_an_endpoint_change_sends_that_endpoint_set_alone() -> None:
    mesh = Mesh()
    mesh.put(routed("orders", "orders", "orders-v2"), endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("orders")])
    mesh.sidecar.settle()
    assert mesh.put(endpoints_of("orders-v2", "o-2"))
    assert sent(mesh.sidecar.take_one()) == [(ENDPOINTS, name("orders-v2"))]
    assert not mesh.put(endpoints_of("stock", "s-1"))
    assert mesh.sidecar.take_one() is None


def test_the_same_value_again_is_no_change() -> None:
    mesh = Mesh()
    mesh.put(routed("orders", "orders"), endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("orders")])
    mesh.sidecar.settle()
    assert not mesh.put(routed("orders", "orders"), endpoints_of("orders", "o-1"))


def test_while_a_delta_is_under_way_only_the_newest_state_waits() -> None:
    mesh = Mesh()
    mesh.session.subscribe([name("orders")])
    under_way = mesh.session.next_delta()
    assert under_way is not None
    for number in range(50):
        mesh.put(endpoints_of("orders", f"o-{number}"))
        assert mesh.session.next_delta() is None
    assert mesh.session.ack(under_way.nonce + 1) is None
    assert mesh.session.ack(under_way.nonce)
    mesh.sidecar.settle()
    assert mesh.sidecar.endpoints[name("orders")] == endpoints_of("orders", "o-49")
    assert len(mesh.sidecar.deltas) == 1


def test_a_service_that_goes_is_removed_and_comes_back() -> None:
    mesh = Mesh()
    mesh.put(endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("orders")])
    mesh.sidecar.settle()
    del mesh.catalog.endpoint_sets[name("orders")]
    mesh.changed({name("orders")})
    delta = mesh.sidecar.take_one()
    assert delta is not None
    assert list(delta.removals) == ["orders.default"]
    assert not mesh.sidecar.endpoints
    mesh.put(endpoints_of("orders", "o-2"))
    mesh.sidecar.settle()
    assert mesh.sidecar.endpoints[name("orders")] == endpoints_of("orders", "o-2")


def test_a_service_given_back_stays_as_a_backend_of_another() -> None:
    mesh = Mesh()
    mesh.put(routed("shop", "shop", "orders"), endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("shop"), name("orders")])
    mesh.sidecar.settle()
    assert set(mesh.sidecar.services) == {name("shop"), name("orders")}
    mesh.session.unsubscribe([name("orders")])
    mesh.sidecar.settle()
    assert set(mesh.sidecar.services) == {name("shop")}
    assert mesh.sidecar.endpoints[name("orders")] == endpoints_of("orders", "o-1")
    mesh.session.unsubscribe([name("shop")])
    mesh.sidecar.settle()
    assert not mesh.sidecar.services
    assert not mesh.sidecar.endpoints
    assert mesh.session.watched() == set()


def test_the_one_that_is_refused_is_found_and_not_sent_again() -> None:
    mesh = Mesh()
    services = [f"s{number}" for number in range(6)]
    mesh.put(*(routed(service, service) for service in services))
    mesh.session.subscribe(map(name, services))
    mesh.sidecar.settle()
    mesh.sidecar.accepts = lambda services: all(part.routes[0].name != "bad" for part in services.values())
    mesh.put(*(routed(service, service, "new", route="bad" if service == "s3" else "good") for service in services))
    mesh.sidecar.settle()
    names = {service: mesh.sidecar.services[name(service)].routes[0].name for service in services}
    assert names == {service: "canary" if service == "s3" else "good" for service in services}
    sent_before = len(mesh.sidecar.deltas)
    mesh.put(endpoints_of("s3", "i-1"))
    mesh.sidecar.settle()
    assert mesh.sidecar.endpoints[name("s3")] == endpoints_of("s3", "i-1")
    assert len(mesh.sidecar.deltas) == sent_before + 1
    mesh.put(routed("s3", "s3", route="mended"))
    mesh.sidecar.settle()
    assert mesh.sidecar.services[name("s3")].routes[0].name == "mended"


def refusing_mesh() -> Mesh:
    """Its sidecar refuses routes named `bad`."""
    mesh = Mesh()
    mesh.sidecar.accepts = lambda services: all(
        route.name != "bad" for service in services.values() for route in service.routes
    )
    return mesh


def test_the_search_for_the_one_that_is_refused_ends_though_another_is_to_be_removed() -> None:
    mesh = refusing_mesh()
    mesh.put(routed("orders", "orders"))
    mesh.put(routed("shop", "orders", route="bad"))
    mesh.session.subscribe([name("orders")])
    mesh.sidecar.settle()
    mesh.catalog.services.pop(name("orders"))
    mesh.changed({name("orders")})
    mesh.session.subscribe([name("shop")])
    mesh.sidecar.settle()
    assert not mesh.sidecar.services


def test_a_service_waits_for_endpoints_that_are_under_suspicion() -> None:
    mesh = refusing_mesh()
    mesh.put(routed("orders", "orders"), routed("shop", "orders", route="bad"), endpoints_of("orders", "o-1"))
    mesh.session.subscribe([name("shop")])
    mesh.sidecar.take_one()
    mesh.session.subscribe([name("orders")])
    mesh.sidecar.settle()  # which checks that there are endpoints for each route
    assert set(mesh.sidecar.services) == {name("orders")}


NAMES = ["a", "b", "c", "d"]
PARTS = st.one_of(
    st.builds(
        lambda s, b, r: routed(s, *b, route=r),
        st.sampled_from(NAMES),
        st.lists(st.sampled_from(NAMES), max_size=3),
        st.sampled_from(["one", "two", "bad"]),
    ),
    st.builds(lambda s, i: endpoints_of(s, *i), st.sampled_from(NAMES), st.sets(st.sampled_from(["i-1", "i-2"]))),
)
STEPS = st.one_of(
    st.tuples(st.just("put"), PARTS),
    st.tuples(st.just("drop"), st.sampled_from(NAMES)),
    st.tuples(st.just("subscribe"), st.sampled_from(NAMES)),
    st.tuples(st.just("unsubscribe"), st.sampled_from(NAMES)),
    st.tuples(st.just("push"), st.none()),
)


def play(mesh: Mesh, step: str, subject: object) -> None:
    if step == "put":
        mesh.put(subject)  # type: ignore[arg-type]
    elif step == "drop":
        gone = name(str(subject))
        mesh.catalog.services.pop(gone, None)
        mesh.catalog.endpoint_sets.pop(gone, None)
        mesh.changed({gone})
    elif step == "subscribe":
        mesh.session.subscribe([name(str(subject))])
    elif step == "unsubscribe":
        mesh.session.unsubscribe([name(str(subject))])
    else:
        mesh.sidecar.take_one()


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=30), st.booleans())
def test_whatever_happens_the_sidecar_ends_with_what_it_should_have(
    steps: list[tuple[str, object]], refuses: bool
) -> None:
    mesh = refusing_mesh() if refuses else Mesh()
    for step, subject in steps:
        play(mesh, step, subject)
    mesh.sidecar.settle()
    catalog = mesh.catalog
    wanted = {service: part for service in mesh.session.subscribed if (part := catalog.service(service))}
    good = {service: part for service, part in wanted.items() if not refuses or mesh.sidecar.accepts({service: part})}
    for service, part in good.items():
        assert mesh.sidecar.services[service] == part
        for backend in catalog.referenced(service) | {service}:
            assert mesh.sidecar.endpoints[backend] == (catalog.endpoints(backend) or EndpointSet(backend))
    assert set(good) <= set(mesh.sidecar.services) <= set(wanted)
    if good == wanted:
        needed = {backend for service in good for backend in catalog.referenced(service) | {service}}
        assert set(mesh.sidecar.endpoints) == needed
