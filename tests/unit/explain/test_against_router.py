"""What explanations say against what the router decides and the gates do: the same, whatever the documents."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.model.base import Origin
from remora.model.limits import Fault, RateLimit, ServiceLimits
from remora.model.names import service_name
from remora.model.policies import Balancer, Fallback, HashKey, ServicePolicy, StaticAnswer
from remora.model.routes import (
    Backend,
    Cors,
    FieldEdits,
    FieldMatch,
    Filters,
    Mirror,
    PathMatch,
    PathRewrite,
    Redirect,
    Rewrite,
    Route,
    RouteMatch,
    SessionPersistence,
)
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.exchange.decision import Decision, LocalAnswer, Refusal
from remora.sidecar.exchange.gate import Stopped
from remora.sidecar.exchange.gate_makers import backend_gates, service_gates
from remora.sidecar.explain import filters
from remora.sidecar.explain.heads import head_of
from remora.sidecar.explain.paint import Paint
from remora.sidecar.explain.reasons import explain
from remora.sidecar.explain.render import render
from remora.sidecar.explain.subject import View
from remora.sidecar.explain.values import Asked, Explanation
from remora.sidecar.listener.outbound import PASSTHROUGH, Mesh, OutboundRouter, PassthroughClusters
from remora.sidecar.routing.session import Session, make_token
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Clusters, policies_of

SHOP = service_name("shop")
BACKENDS = [service_name(name) for name in ("shop-v1", "shop-v2", "gone")]
ORIGIN = Origin("HTTPRoute", "default", "shop", 7, 1)
OWN_PORT = 15001

PATHS = st.sampled_from(["/", "/a", "/a/b"])
PATH_MATCHES = st.builds(PathMatch, st.sampled_from(["exact", "prefix"]), PATHS)
MATCHES = st.builds(
    RouteMatch,
    st.none() | PATH_MATCHES,
    st.sampled_from(["", "", "", "GET", "POST"]),
    st.sampled_from([(), (), (FieldMatch("x", "1"),)]),
)
EDITS = st.builds(
    FieldEdits,
    st.sampled_from([(), (("x", "set"),)]),
    st.sampled_from([(), (("y", "added"),)]),
    st.sampled_from([(), ("x",), ("user",)]),
)
PATH_REWRITES = st.builds(PathRewrite, st.sampled_from(["full", "prefix"]), st.sampled_from(["/new", "/"]))
FILTERS = st.builds(
    Filters,
    st.none() | EDITS,
    st.none() | EDITS,
    st.none() | st.builds(Rewrite, st.sampled_from(["", "inside"]), st.none() | PATH_REWRITES),
    st.sampled_from([*[None] * 9, Redirect(hostname="new.example", status=301)]),
    st.sampled_from([(), (Mirror(BACKENDS[0], 0.5),)]),
    st.sampled_from([None, Cors(("https://a.example",), methods=("GET",))]),
)
ALL_EDITS = Filters(FieldEdits(set=(("x", "set"),)), rewrite=Rewrite("inside", PathRewrite("full", "/new")))
ROUTES = st.builds(
    Route,
    st.uuids().map(str),
    st.just(ORIGIN),
    MATCHES,
    st.lists(
        st.builds(Backend, st.sampled_from(BACKENDS), st.sampled_from([0, 1, 1, 9]), filters=st.none() | FILTERS),
        min_size=1,
        max_size=3,
        unique_by=lambda backend: backend.service,
    ).map(tuple),
    consumers=st.sampled_from([*[""] * 6, "default", "elsewhere"]),
    filters=st.none() | FILTERS,
    session=st.sampled_from([None, SessionPersistence("sid", "cookie"), SessionPersistence("x-sid", "header")]),
)
POLICIES = st.builds(
    ServicePolicy,
    st.sampled_from([Balancer(), Balancer(), Balancer("ring_hash", (HashKey("header", "x"), HashKey("query", "x")))]),
    sticky_by=st.sampled_from([(), (HashKey("header", "user"),), (HashKey("cookie", "user", 60.0),)]),
    fallback=st.sampled_from([None, None, Fallback(answer=StaticAnswer(204))]),
)
LIMITS = st.sampled_from([(), (RateLimit(SHOP, "shop/all", ORIGIN, 1, per_s=3600.0, at_callers=True),)])
FAULTS = st.lists(
    st.builds(
        Fault,
        st.just(ORIGIN),
        st.lists(MATCHES, max_size=1).map(tuple),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from([0, 503]),
    ),
    max_size=2,
).map(tuple)
SERVICES = st.builds(
    Service,
    st.just(SHOP),
    st.lists(ROUTES, max_size=4).map(tuple),
    POLICIES,
    hostnames=st.just(("shop.example",)),
    limits=LIMITS.map(ServiceLimits),
    faults=FAULTS,
)
NOW = int(time.time())
TOKENS = [make_token(Session(name, f"{name}-{index}", NOW, NOW)).decode() for name in BACKENDS for index in (0, 7)]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x": st.sampled_from(["1", "2"]),
        "user": st.sampled_from(["ann", "bob"]),
        "cookie": st.sampled_from(["user=eve", *(f"sid={token}" for token in TOKENS)]),
        "x-sid": st.sampled_from(TOKENS),
        "origin": st.sampled_from(["https://a.example", "https://b.example"]),
        "access-control-request-method": st.just("GET"),
        "content-type": st.just("application/grpc"),
    },
)
ASKED = st.builds(
    Asked,
    st.sampled_from(["GET", "GET", "POST", "OPTIONS", "CONNECT"]),
    st.sampled_from(
        [*["shop"] * 9, "shop:8080", "shop.example", "far.example:81", f"127.0.0.1:{OWN_PORT}", "a:b:c", ""]
    ),
    st.builds(str.__add__, PATHS, st.sampled_from(["", "?x=1"])),
    HEADERS.map(lambda headers: tuple(headers.items())),
)


def mesh_of(service: Service, policy: str) -> Mesh:
    """As a data path makes it."""
    metrics = Metrics()
    sets = {
        name: EndpointSet(name, tuple(Endpoint(f"{name}-{index}", f"10.0.0.{index}", 80) for index in (0, 1)))
        for name in (SHOP, *BACKENDS[:2])
    }
    snapshot = Snapshot(3, {SHOP: service}, sets)
    clusters = Clusters(metrics)
    gates, protection = service_gates(metrics, faults=True, workers=1), backend_gates(metrics)
    passed = PassthroughClusters(metrics)
    mesh = Mesh(RouteTable(snapshot, "default"), clusters, passed, "default", policy, {OWN_PORT}, gates, protection)  # type: ignore[arg-type]
    clusters.update(snapshot)
    mesh.fallbacks.update(snapshot.services)
    gates.update(snapshot.services)
    protection.update({name: Service(name, policy=policy) for name, policy in policies_of(snapshot).items()})
    return mesh


def stopped_by(decision: Decision, asked: Asked) -> Stopped | None:
    """What the gates say to a request, faults of 0 or 100 %."""
    for gate in decision.gates:
        verdict = gate.enter(head_of(asked), time.monotonic(), 0.5)
        stopped: Any = verdict if isinstance(verdict, Stopped) else getattr(verdict, "then", None)
        if stopped is not None:
            return stopped  # type: ignore[no-any-return]
    return None


@settings(max_examples=300)
@given(SERVICES, ASKED, st.sampled_from(["allow-any", "registry-only"]), st.integers(0, 2))
def test_what_is_said_is_what_is_decided(service: Service, asked: Asked, policy: str, before: int) -> None:
    mesh = mesh_of(service, policy)
    router = OutboundRouter(mesh)
    for _ in range(before):  # so that limits may be used up
        earlier = router.decide(head_of(asked), final=True)
        if isinstance(earlier, Decision):
            stopped_by(earlier, asked)
    told = explain(asked, View.of(mesh, "file", faults=True))
    decided = router.decide(head_of(asked), final=True)
    assert render(told, Paint())
    assert [each.outcome for each in told.considered].count("chosen") == (
        1 if told.route and told.route != "default" else 0
    )
    if isinstance(decided, Refusal):
        possible = [each for each in told.backends if each.weight]
        if len(possible) > 1 and not any(each.chosen for each in possible):
            # By chance it was the one backend that has no endpoint.
            assert not all(each.endpoints for each in possible)
            return
        failing, failure = told.failing, decided.failure
        assert (failing.flag, failing.status, failing.code) == (failure.flag, failure.status, failure.code)
        if len(told.backends) < 2:
            assert failing.sentence == decided.detail
    elif isinstance(decided, LocalAnswer):
        assert told.route == decided.route
        assert told.now[0].startswith(f"the sidecar answers {decided.status} itself")
        assert told.failing is None
    else:
        assert isinstance(decided, Decision)
        check(told, decided, asked)


def test_nothing_of_a_question_is_changed_by_it() -> None:
    service = Service(SHOP, (Route("r", ORIGIN, RouteMatch(), (Backend(BACKENDS[0]),), filters=ALL_EDITS),))
    asked = Asked("GET", "shop", "/x?y=1", (("x", "1"), ("X-Request-Id", "first"), ("x-request-id", "second")))
    told = explain(asked, View.of(mesh_of(service, "allow-any"), "file", faults=True))
    (backend,) = told.backends
    assert backend.sees == ("host inside, not shop", "path /new?y=1, not /x?y=1", "x: set")
    assert head_of(asked).request_id == b"first"


@pytest.mark.parametrize(
    ("content_type", "status"), [("text/html", None), ("application/grpc", 503)], ids=["HTTP", "gRPC"]
)
def test_texts_stand_in_for_answers_of_http_alone(content_type: str, status: int | None) -> None:
    policy = ServicePolicy(fallback=Fallback(answer=StaticAnswer(204)))
    service = Service(SHOP, (Route("r", ORIGIN, RouteMatch(), (Backend(BACKENDS[2]),)),), policy)
    asked = Asked("POST", "shop", "/a.B/C", (("content-type", content_type),))
    told = explain(asked, View.of(mesh_of(service, "allow-any"), "file", faults=True))
    assert (None if told.failing is None else told.failing.status) == status
    if told.failing is not None:
        assert told.now[0].startswith("the sidecar answers gRPC UNAVAILABLE itself")
    other = ServicePolicy(fallback=Fallback(on=("timeout",), answer=StaticAnswer(204)))
    told = explain(
        asked, View.of(mesh_of(msgspec.structs.replace(service, policy=other), "allow-any"), "file", faults=True)
    )
    assert told.failing is not None


def check(told: Explanation, decision: Decision, asked: Asked) -> None:
    """One that is sent on."""
    if decision.service == PASSTHROUGH:
        assert told.now[0].startswith("it goes past the mesh")
        return
    assert told.route == decision.route
    chosen = [each for each in told.backends if each.chosen]
    (backend,) = (each for each in told.backends if each.service == decision.cluster.name)
    assert chosen == [backend] or (not chosen and backend.weight)
    assert backend.sees == tuple(filters.sees(head_of(asked), decision.filters))
    edited = head_of(asked)
    for each in decision.filters:
        each.edit_request(edited)
    assert bool(backend.sees) == (str(edited) != str(head_of(asked)))
    persisted = None if decision.persistence is None else decision.persistence.endpoint
    assert backend.session == ("" if persisted is None else f"{persisted.endpoint.address}:80")
    if any(name == b"set-cookie" and value.startswith(b"user=") for name, value in decision.answer_fields):
        assert not chosen or len([each for each in told.backends if each.weight]) == 1  # a cookie made anew is chance
    picked = None if decision.key is None else decision.cluster.pick((), decision.key)
    assert backend.place == ("" if picked is None else f"{picked.endpoint.address}:80")
    stopped = stopped_by(decision, asked)
    if stopped is not None:
        assert told.failing is not None
        assert (told.failing.code, told.failing.sentence) == (stopped.failure.code, stopped.detail)
    elif decision.cluster.usable:
        assert told.failing is None


def test_what_has_no_endpoint_does_not_get_to_the_gates() -> None:
    fault = Fault(ORIGIN, status=500)
    for backend, status in ((BACKENDS[2], 503), (BACKENDS[0], 500)):
        service = Service(SHOP, (Route("r", ORIGIN, RouteMatch(), (Backend(backend),)),), faults=(fault,))
        mesh, asked = mesh_of(service, "allow-any"), Asked("GET", "shop", "/")
        told = explain(asked, View.of(mesh, "file", faults=True))
        decided = OutboundRouter(mesh).decide(head_of(asked), final=True)
        assert told.failing is not None
        assert told.failing.status == status
        assert isinstance(decided, Refusal if status == 503 else Decision)
