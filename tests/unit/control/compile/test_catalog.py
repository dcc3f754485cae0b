"""The catalog against store events: what changes, what does not, and what bad input does."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest

from remora.control.compile import Catalog, Changes
from remora.control.compile.status import DocumentStatus, encode_record, record_of
from remora.control.store.interface import Event, EventKind, Revision
from remora.control.store.keys import config_key, instance_key, status_key
from remora.model.names import ServiceName, service_name

REVIEWS = service_name("reviews")
V1 = service_name("reviews-v1")
V2 = service_name("reviews-v2")


class Bench:
    """A catalog with a store's revisions."""

    def __init__(self) -> None:
        self.catalog = Catalog("dev")
        self._revisions = itertools.count(1)
        self._created: dict[str, Revision] = {}

    def put(self, key: str, value: bytes | str) -> Changes:
        revision = Revision(next(self._revisions))
        data = value.encode() if isinstance(value, str) else value
        created = self._created.setdefault(key, revision)
        return self.catalog.apply([Event(EventKind.PUT, key, data, revision, created)], revision)

    def delete(self, key: str) -> Changes:
        revision = Revision(next(self._revisions))
        self._created.pop(key, None)
        return self.catalog.apply([Event(EventKind.DELETE, key, b"", revision)], revision)

    def instance(self, service: ServiceName, name: str, **fields: object) -> Changes:
        body = {"address": "10.0.0.1", "port": 80, "id": name, **fields}
        return self.put(instance_key("dev", service, name), json.dumps(body))

    def route(self, weight: int, name: str = "reviews") -> Changes:
        return self.put(config_key("dev", "HTTPRoute", "default", name), route(weight, name))

    def policy(self, name: str, balancer: str = "RoundRobin", target: str = "reviews") -> Changes:
        return self.put(config_key("dev", "TrafficPolicy", "default", name), policy(name, balancer, target))


def route(weight: int, name: str = "reviews") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{kind: Service, group: "", name: reviews}}]
  rules: [{{backendRefs: [{{name: reviews-v1, weight: {100 - weight}}}, {{name: reviews-v2, weight: {weight}}}]}}]
"""


def policy(name: str, balancer: str, target: str) -> str:
    return f"""
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{kind: Service, group: "", name: {target}}}], balancer: {{type: {balancer}}}}}
"""


def only(changes: Changes) -> DocumentStatus:
    (status,) = changes.statuses
    return status


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_instance_makes_its_service_and_its_version_known(bench: Bench) -> None:
    changes = bench.instance(REVIEWS, "a", version="v2")
    assert changes.services == changes.endpoint_sets == {REVIEWS, V2}
    endpoints = bench.catalog.endpoints(V2)
    assert endpoints is not None
    assert [e.id for e in endpoints.endpoints] == ["a"]
    assert endpoints.service == V2
    assert bench.catalog.names() == [V2, REVIEWS]


def test_an_endpoint_change_is_no_routing_change(bench: Bench) -> None:
    bench.route(10)
    bench.instance(REVIEWS, "a", version="v1")
    service = bench.catalog.service(REVIEWS)
    changes = bench.instance(REVIEWS, "b", version="v1")
    assert changes.services == frozenset()
    assert changes.endpoint_sets == {REVIEWS, V1}
    assert bench.catalog.service(REVIEWS) is service


def test_a_routing_change_is_no_endpoint_change(bench: Bench) -> None:
    bench.instance(REVIEWS, "a", version="v1")
    changes = bench.route(10)
    assert changes.services == {REVIEWS}
    assert changes.endpoint_sets == frozenset()
    assert bench.catalog.referenced(REVIEWS) == {REVIEWS, V1, V2}


def test_the_same_again_is_no_change(bench: Bench) -> None:
    bench.route(10)
    bench.instance(REVIEWS, "a")
    for changes in (bench.route(10), bench.instance(REVIEWS, "a")):
        assert changes.services == changes.endpoint_sets == frozenset()


def test_what_goes_is_told(bench: Bench) -> None:
    bench.instance(REVIEWS, "a", version="v2")
    changes = bench.delete(instance_key("dev", REVIEWS, "a"))
    assert changes.services == changes.endpoint_sets == {REVIEWS, V2}
    assert bench.catalog.service(REVIEWS) is None
    assert bench.catalog.endpoints(V2) is None
    assert not bench.catalog.known(V2)


def test_a_registration_of_the_versions_name_wins(bench: Bench) -> None:
    bench.instance(REVIEWS, "a", version="v2")
    bench.instance(V2, "real")
    endpoints = bench.catalog.endpoints(V2)
    assert endpoints is not None
    assert [e.id for e in endpoints.endpoints] == ["real"]
    bench.delete(instance_key("dev", V2, "real"))
    endpoints = bench.catalog.endpoints(V2)
    assert endpoints is not None
    assert [e.id for e in endpoints.endpoints] == ["a"]


def test_an_instance_that_changes_version_moves(bench: Bench) -> None:
    bench.instance(REVIEWS, "a", version="v1")
    changes = bench.instance(REVIEWS, "a", version="v2")
    assert changes.endpoint_sets == {REVIEWS, V1, V2}
    assert bench.catalog.endpoints(V1) is None


def test_versions_have_the_policy_of_their_base_unless_they_have_one(bench: Bench) -> None:
    bench.instance(REVIEWS, "a", version="v2")
    changes = bench.policy("reviews")
    assert changes.services == {REVIEWS, V2}
    service = bench.catalog.service(V2)
    assert service is not None
    assert service.policy.balancer.kind == "round_robin"
    assert bench.policy("own", "Random", "reviews-v2").services == {V2}
    service = bench.catalog.service(V2)
    assert service is not None
    assert service.policy.balancer.kind == "random"


def test_faults_come_with_the_document_that_wants_them_and_go_with_it(bench: Bench) -> None:
    key = config_key("dev", "FaultPolicy", "default", "trial")
    text = "apiVersion: mesh.remora.dev/v1alpha1\nkind: FaultPolicy\nmetadata: {name: trial}\nspec: "
    bench.instance(REVIEWS, "a")
    target = '{targetRefs: [{kind: Service, group: "", name: reviews}], faults: [{delay: 1s}]}'
    assert bench.put(key, text + target).services == {REVIEWS}
    service = bench.catalog.service(REVIEWS)
    assert service is not None
    assert [(str(fault.origin), fault.origin.revision) for fault in service.faults] == [
        ("FaultPolicy default/trial", 2)
    ]
    assert bench.delete(key).services == {REVIEWS}
    service = bench.catalog.service(REVIEWS)
    assert service is not None
    assert service.faults == ()


def test_a_bad_document_changes_nothing_and_says_why(bench: Bench) -> None:
    bench.route(10)
    service = bench.catalog.service(REVIEWS)
    bad = route(20).replace("backendRefs", "backendRef")
    changes = bench.put(config_key("dev", "HTTPRoute", "default", "reviews"), bad)
    assert changes.services == frozenset()
    assert bench.catalog.service(REVIEWS) is service
    status = only(changes)
    assert (status.accepted, status.revision, status.active_revision) == (False, 2, 1)
    assert status.errors[0].path == "spec.rules[0].backendRef"
    assert "did you mean backendRefs?" in status.errors[0].message
    assert only(bench.route(20)).accepted


@pytest.mark.parametrize(
    "value", [b"\xff", b"", b"[1]", b"kind: [", b"kind: Nope", b"a: &a [*a]", b"---\n{}\n---\n{}", b"{" * 5000]
)
def test_rubbish_is_refused_not_raised(bench: Bench, value: bytes) -> None:
    status = only(bench.put(config_key("dev", "HTTPRoute", "default", "reviews"), value))
    assert not status.accepted
    assert status.errors


def test_a_document_must_agree_with_its_key(bench: Bench) -> None:
    changes = bench.put(config_key("dev", "HTTPRoute", "shop", "other"), route(1))
    assert [error.path for error in only(changes).errors] == ["metadata.namespace", "metadata.name"]
    assert changes.services == frozenset()


def test_a_bad_instance_is_reported_and_harmless(bench: Bench) -> None:
    bench.instance(REVIEWS, "a")
    for body in ("{", "[]", '{"address":"x"}', '{"address":"","port":1}', '{"address":"x","port":0}'):
        changes = bench.put(instance_key("dev", REVIEWS, "bad"), body)
        assert changes == Changes()
        (problem,) = bench.catalog.problems()
        assert problem.key.endswith("/bad")
    bench.delete(instance_key("dev", REVIEWS, "bad"))
    assert bench.catalog.problems() == []


def test_the_older_of_two_policies_keeps_the_service(bench: Bench) -> None:
    bench.policy("z", "RoundRobin")
    status = only(bench.policy("b", "Random"))
    assert not status.accepted
    assert "TrafficPolicy default/z" in status.errors[0].message
    service = bench.catalog.service(REVIEWS)
    assert service is not None
    assert service.policy.balancer.kind == "round_robin"
    changes = bench.delete(config_key("dev", "TrafficPolicy", "default", "z"))
    assert only(changes).accepted
    assert [str(key) for key in changes.removed] == ["TrafficPolicy default/z"]
    service = bench.catalog.service(REVIEWS)
    assert service is not None
    assert service.policy.balancer.kind == "random"


def test_a_policy_that_takes_anothers_service_keeps_what_it_had(bench: Bench) -> None:
    bench.policy("a", "RoundRobin", "reviews")
    bench.policy("b", "Random", "ratings")
    assert not only(bench.policy("b", "LeastRequest", "reviews")).accepted
    ratings = bench.catalog.service(service_name("ratings"))
    assert ratings is not None
    assert ratings.policy.balancer.kind == "random"


def test_other_keys_and_other_environments_are_ignored(bench: Bench) -> None:
    assert bench.put("/other", "x") == Changes()
    assert bench.put(instance_key("prod", REVIEWS, "a"), '{"address":"x","port":1}') == Changes()
    assert bench.catalog.revision == 2


def test_the_last_good_version_outlives_a_restart(bench: Bench) -> None:
    good = only(bench.route(10))
    record = encode_record(record_of(good, "2026-01-01T00:00:00Z"))
    fresh = Catalog("dev")
    events = [
        Event(EventKind.PUT, config_key("dev", "HTTPRoute", "default", "reviews"), b"bad", Revision(7)),
        Event(EventKind.PUT, status_key("dev", "HTTPRoute", "default", "reviews"), record, Revision(2)),
    ]
    changes = fresh.apply(events, 7)
    assert only(changes).active_revision == 1
    assert fresh.service(REVIEWS) == bench.catalog.service(REVIEWS)


def test_static_endpoints_stand_beside_registered_ones(bench: Bench) -> None:
    document = """
apiVersion: mesh.remora.dev/v1alpha1
kind: ServiceEndpoints
metadata: {name: ext}
spec: {service: reviews, endpoints: [{address: 10.1.1.1, port: 9000, version: v2}]}
"""
    changes = bench.put(config_key("dev", "ServiceEndpoints", "default", "ext"), document)
    assert changes.endpoint_sets == {REVIEWS, V2}
    bench.instance(REVIEWS, "a")
    endpoints = bench.catalog.endpoints(REVIEWS)
    assert endpoints is not None
    assert {e.id for e in endpoints.endpoints} == {"a", "10.1.1.1:9000"}
    changes = bench.delete(config_key("dev", "ServiceEndpoints", "default", "ext"))
    assert changes.endpoint_sets == {REVIEWS, V2}


def test_incremental_equals_from_scratch(bench: Bench) -> None:
    log: list[Event] = []
    apply = bench.catalog.apply
    steps = [
        (config_key("dev", "HTTPRoute", "default", "reviews"), route(1)),
        (instance_key("dev", REVIEWS, "a"), '{"address":"x","port":1,"version":"v1"}'),
        (config_key("dev", "TrafficPolicy", "default", "p"), policy("p", "Random", "reviews")),
        (instance_key("dev", V1, "b"), '{"address":"x","port":2}'),
        (instance_key("dev", V1, "b"), None),
        (instance_key("dev", REVIEWS, "a"), '{"address":"x","port":1,"version":"v2"}'),
    ]
    final: dict[str, Event] = {}
    for number, (key, value) in enumerate(steps, start=1):
        kind = EventKind.PUT if value is not None else EventKind.DELETE
        event = Event(kind, key, (value or "").encode(), Revision(number))
        log.append(event)
        apply([event], number)
        if value is None:
            final.pop(key)
        else:
            final[key] = event
    fresh = Catalog("dev")
    fresh.apply(final.values(), len(steps))
    assert fresh.names() == bench.catalog.names()
    for name in fresh.names():
        assert fresh.service(name) == bench.catalog.service(name)
        assert fresh.endpoints(name) == bench.catalog.endpoints(name)


def test_notes_name_backends_without_instances(bench: Bench) -> None:
    active = only(bench.route(10)).active
    assert active is not None
    bench.instance(REVIEWS, "a", version="v1")
    (note,) = bench.catalog.notes(active)
    assert (note.path, note.message) == (
        "spec.rules[0].backendRefs[1]",
        "no instance of reviews-v2.default is known yet",
    )
    assert msgspec.json.encode(note)


def grant(namespace: str, *sources: str, kind: str = "HTTPRoute", to: str = "{kind: Service}") -> str:
    named = ", ".join(f"{{kind: {kind}, namespace: {source}}}" for source in sources)
    return f"""
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: {namespace}}}
spec: {{from: [{named}], to: [{to}]}}
"""


def test_a_route_to_another_namespace_needs_a_grant_there(bench: Bench) -> None:
    text = route(10).replace("{name: reviews-v1", "{namespace: shop, name: reviews-v1")
    changes = bench.put(config_key("dev", "HTTPRoute", "default", "reviews"), text)
    (status,) = changes.statuses
    assert not status.accepted
    assert "no ReferenceGrant there allows HTTPRoutes of default" in status.errors[0].message
    assert status.errors[0].path == "spec.rules[0].backendRefs[0]"
    assert bench.catalog.service(REVIEWS) is None

    key = config_key("dev", "ReferenceGrant", "shop", "g")
    bench.put(key, grant("shop", "other"))
    assert bench.catalog.service(REVIEWS) is None
    changes = bench.put(key, grant("shop", "other", "default"))
    assert [status.accepted for status in changes.statuses] == [True, True]
    assert changes.services == {REVIEWS}

    changes = bench.delete(key)
    assert changes.services == {REVIEWS}
    assert bench.catalog.service(REVIEWS) is None, "what is no longer granted is no longer done, good as it was"


@pytest.mark.parametrize(
    ("fields", "granted"),
    [
        ({"to": "{kind: Service, name: reviews-v1}"}, True),
        ({"to": "{kind: Service, name: reviews-v2}"}, False),
        ({"to": "{kind: Service, name: a}, {kind: Service, name: reviews-v1}"}, True),
        ({"kind": "GRPCRoute"}, False),
    ],
)
def test_a_grant_is_for_what_it_names(bench: Bench, fields: dict[str, str], granted: bool) -> None:
    text = route(10).replace("{name: reviews-v1", "{namespace: shop, name: reviews-v1")
    bench.put(config_key("dev", "ReferenceGrant", "shop", "g"), grant("shop", "default", **fields))
    changes = bench.put(config_key("dev", "HTTPRoute", "default", "reviews"), text)
    assert [status.accepted for status in changes.statuses] == [granted]


def test_callers_need_no_grant_for_the_service_that_they_ask_for(bench: Bench) -> None:
    text = route(10).replace('group: "", name: reviews', 'group: "", namespace: shop, name: reviews')
    own, other = (text.replace("{name: reviews-v1", f"{{namespace: shop, name: {name}") for name in ("reviews", "pay"))
    key = config_key("dev", "HTTPRoute", "default", "reviews")
    assert [status.accepted for status in bench.put(key, other).statuses] == [False]
    assert [status.accepted for status in bench.put(key, own).statuses] == [True]


def test_a_route_for_two_services_gives_each_its_own(bench: Bench) -> None:
    text = route(10).replace("parentRefs: [", 'parentRefs: [{kind: Service, group: "", name: ratings, port: 81}, ')
    changes = bench.put(config_key("dev", "HTTPRoute", "default", "reviews"), text)
    ratings = service_name("ratings")
    assert changes.services == {REVIEWS, ratings}
    found = {name: bench.catalog.service(name) for name in changes.services}
    assert {name: service and service.routes[0].match.port for name, service in found.items()} == {
        REVIEWS: None,
        ratings: 81,
    }
