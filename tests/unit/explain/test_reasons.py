"""What explanations say against what the route table does."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from remora.model.base import Origin
from remora.model.limits import Fault
from remora.model.names import ServiceName, service_name
from remora.model.policies import AdmissionControl, HashKey, Hedging, RetryBudget, RetryPolicy, ServicePolicy, Timeouts
from remora.model.routes import Backend, FieldEdits, FieldMatch, Filters, PathMatch, Redirect, Route, RouteMatch
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.exchange.admission_gate import AdmissionGate
from remora.sidecar.exchange.faults import FaultGate
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.explain.paint import Paint
from remora.sidecar.explain.reasons import explain, head_of
from remora.sidecar.explain.render import render
from remora.sidecar.explain.subject import View
from remora.sidecar.explain.values import Asked, Explanation
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics

SHOP = service_name("shop")
V1, V2 = service_name("shop-v1"), service_name("shop-v2")
ORIGIN = Origin("HTTPRoute", "default", "shop", 7, 1)


def view(service: Service, known: bool | None = False, gates: tuple[Gate, ...] = ()) -> View:
    sets = {name: EndpointSet(name, (Endpoint(f"{name}-1", "10.0.0.1", 80),)) for name in (SHOP, V1, V2)}
    table = RouteTable(Snapshot(3, {SHOP: service}, sets), "default")

    def gates_of(_service: ServiceName, _backend: ServiceName) -> tuple[Gate, ...]:
        return gates

    return View(table, "control", "default", "allow-any", lambda _: None, gates_of, lambda _: known, live=False)


def ask(path: str = "/", method: str = "GET", authority: str = "shop", **headers: str) -> Asked:
    return Asked(method, authority, path, tuple(headers.items()))


def route(name: str, *backends: Backend, match: RouteMatch | None = None, **fields: object) -> Route:
    return Route(name, ORIGIN, match or RouteMatch(), backends or (Backend(SHOP),), **fields)  # type: ignore[arg-type]


SEGMENT = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(SEGMENT, max_size=3).map(lambda parts: "/" + "/".join(parts))
FIELDS = st.builds(FieldMatch, st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]))
MATCHES = st.builds(
    RouteMatch,
    st.none()
    | st.builds(PathMatch, st.sampled_from(["exact", "prefix"]), PATHS)
    | st.builds(PathMatch, st.just("regex"), st.sampled_from(["/a.*", "/[ab]", "/"])),
    st.sampled_from(["", "GET", "POST"]),
    st.lists(FIELDS, max_size=1).map(tuple),
    st.lists(FIELDS, max_size=1).map(tuple),
    st.sampled_from([None, 80, 8080]),
)
ROUTES = st.builds(
    Route,
    st.uuids().map(str),
    st.just(ORIGIN),
    MATCHES,
    st.just((Backend(SHOP),)),
    st.sampled_from([(), ("shop.example",), ("*.example",)]),
    st.booleans(),
    st.sampled_from(["", "", "default", "elsewhere"]),
)
ASKED = st.builds(
    Asked,
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["shop", "shop:8080", "shop.example", "shop.default"]),
    st.builds(str.__add__, PATHS, st.sampled_from(["", "/", "?x=1", "?y=2&x=2"])),
    st.dictionaries(
        st.sampled_from(["x", "Y", "content-type"]), st.sampled_from(["1", "2", "application/grpc"]), max_size=3
    ).map(lambda headers: tuple(headers.items())),
)


@given(st.lists(ROUTES, max_size=8).map(tuple), ASKED)
def test_what_is_said_to_be_chosen_is_what_the_table_chooses(routes: tuple[Route, ...], asked: Asked) -> None:
    seen = view(Service(SHOP, routes, hostnames=("shop.example",)))
    compiled = seen.table.find(asked.authority.encode())
    assert compiled is not None
    truth = compiled.route(head_of(asked))
    told = explain(asked, seen)
    assert told.route == ("" if truth is None else truth.name)
    assert len(told.considered) == len(routes)
    chosen = [each.route for each in told.considered if each.outcome == "chosen"]
    if truth is not None and truth is not compiled.default:
        assert chosen == [truth.name]
    else:
        assert chosen == []
    for each in told.considered:
        assert bool(each.why) == (each.outcome in ("missed", "for others"))
    assert (told.failing is not None) == (truth is None)
    assert render(told, Paint())


@given(
    st.lists(st.tuples(st.sampled_from([V1, V2]), st.integers(0, 3)), min_size=1, max_size=2, unique_by=lambda b: b[0])
)
def test_a_user_that_stays_with_a_backend_is_told_which(weights: list[tuple[ServiceName, int]]) -> None:
    backends = tuple(Backend(name, weight) for name, weight in weights)
    policy = ServicePolicy(sticky_by=(HashKey("header", "x-user"),))
    seen = view(Service(SHOP, (route("split", *backends),), policy))
    for user in ("a", "b", "c"):
        asked = ask(**{"x-user": user})
        told = explain(asked, seen)
        compiled = seen.table.services[SHOP].routes[0]
        truth = compiled.backend_of(user.encode())
        assert [each.service for each in told.backends if each.chosen] == ([] if truth is None else [truth.service])
    shares = {each.service: each.share for each in explain(ask(), seen).backends}
    total = sum(weight for _, weight in weights)
    assert shares == {name: weight / total if total else 0.0 for name, weight in weights}


def only_failing(told: Explanation) -> tuple[str, int]:
    assert told.failing is not None
    return told.failing.flag, told.failing.status


def test_what_the_mesh_would_answer_itself_is_told() -> None:
    match = RouteMatch(PathMatch("exact", "/only"))
    assert only_failing(explain(ask("/other"), view(Service(SHOP, (route("one", match=match),))))) == ("NR", 404)
    none = view(Service(SHOP, (route("one", Backend(V1, 0)),)))
    assert only_failing(explain(ask(), none)) == ("NR", 500)
    empty = view(Service(SHOP, (route("one", Backend(service_name("gone"))),)))
    assert only_failing(explain(ask(), empty)) == ("UH", 503)
    bad = view(Service(SHOP))
    assert only_failing(explain(Asked("GET", "a:b:c", "/"), bad)) == ("NR", 400)
    elsewhere = Filters(redirect=Redirect(hostname="new.example", status=301))
    told = explain(ask("/x"), view(Service(SHOP, (route("one", filters=elsewhere),))))
    assert told.now == ("the sidecar answers 301 itself (location: http://new.example/x)",)


def test_who_is_not_of_the_mesh_is_told_so() -> None:
    told = explain(ask(authority="pay.example.com"), view(Service(SHOP)))
    assert told.now == ("it goes past the mesh, to pay.example.com port 80, as it is",)
    told = explain(ask(authority="new"), view(Service(SHOP), known=None))
    assert "control is asked for it" in told.found


def test_faults_say_whether_they_are_for_this_request() -> None:
    slow = RouteMatch(headers=(FieldMatch("x-slow", "1"),))
    service = Service(
        SHOP, faults=(Fault(ORIGIN, (slow,), delay_s=2.0), Fault(ORIGIN, share=0.05, status=503, grpc_status=14))
    )
    metrics = Metrics()
    told = explain(ask(), view(service, gates=(FaultGate(service, metrics),)))
    delay, abort = (rule for rule in told.rules if rule.name == "fault")
    assert delay.missed == "header x-slow is 1 (there is none)"
    assert (abort.missed, abort.says) == ("", ("5 % of requests: aborts with 503, gRPC UNAVAILABLE",))
    assert (abort.failing is not None, abort.chance) == (True, 0.05)
    assert (abort.source.document, abort.source.revision) == ("HTTPRoute default/shop", 7)
    assert metrics.faults == {}  # nobody was asked to fail


def test_a_page_for_people_has_it_all() -> None:
    v2 = RouteMatch(headers=(FieldMatch("x-group", "beta"),))
    service = Service(SHOP, (route("shop/beta", Backend(V2), match=v2), route("shop/rest", Backend(V1))))
    page = render(explain(ask("/x", Cookie="id=c00kie"), view(service)), Paint())
    for line in (
        "GET http://shop/x",
        "  Cookie: (not shown)",
        "  configuration from control, revision 3",
        "service  shop.default, by the name shop",
        "  x shop/beta  HTTPRoute default/shop, rule 1, revision 7",
        "      header x-group is beta: there is none",
        "  * shop/rest  HTTPRoute default/shop, rule 1, revision 7",
        "  shop-v1.default  all such requests - 1 of 1 endpoint usable, least request",
        "    o 10.0.0.1:80    healthy",
        "-> it goes to shop-v1.default, at 10.0.0.1:80",
    ):
        assert line in page.splitlines(), page
    assert "\x1b" not in page
    coloured = render(explain(ask("/x"), view(service)), Paint(colours=True, signs=True))
    assert coloured.startswith("\x1b[1mGET http://shop/x\x1b[0m")


def sources(told: Explanation, name: str) -> dict[str, tuple[str, ...]]:
    """Where what is said of a rule stands: document → what it says."""
    return {rule.source.document: rule.says for rule in told.rules if rule.name == name}


def test_each_time_is_told_with_the_document_that_it_stands_in() -> None:
    policy = ServicePolicy(
        timeouts=Timeouts(connect_s=1.0),
        retry=RetryPolicy(hedging=Hedging(0.1), budget=RetryBudget(0.1)),
        origin=Origin("TrafficPolicy", "default", "shop", 5),
    )
    service = Service(SHOP, (route("one", request_timeout_s=2.0),), policy)
    told = explain(ask(**{"grpc-timeout": "1S"}), view(service))
    assert sources(told, "timeouts") == {
        "HTTPRoute default/shop": ("request 2 s",),
        "TrafficPolicy default/shop": ("connect 1 s",),
        "defaults": ("silence 5 min",),
    }
    assert list(sources(told, "retry")) == ["defaults"]  # it only hedges, with a budget of its own
    assert list(sources(told, "retry budget")) == ["TrafficPolicy default/shop"]
    assert list(sources(told, "hedging")) == ["TrafficPolicy default/shop"]
    assert list(sources(told, "deadline")) == ["grpc-timeout of the request"]


def test_what_a_gate_stops_by_chance_is_told_before_where_the_rest_goes() -> None:
    gate = AdmissionGate("shop", AdmissionControl(volume=1), Metrics())
    for _ in range(100):
        gate.leave(Outcome.FAILED, time.monotonic(), 0.1)
    told = explain(ask(), view(Service(SHOP), gates=(gate,)))
    assert told.failing is None
    assert told.now[0].startswith("80 % of such requests are answered 503: shop fails most requests")
    assert told.now[1] == "it goes to shop.default, at 10.0.0.1:80"


def test_a_page_tells_what_does_not_apply_apart_and_what_backends_see() -> None:
    edits = Filters(request=FieldEdits(set=(("x-canary", "yes"),)))
    slow = Fault(ORIGIN, (RouteMatch(headers=(FieldMatch("x-slow", "1"),)),), delay_s=2.0)
    service = Service(SHOP, (route("one", Backend(V2, filters=edits)),), faults=(slow,))
    page = render(explain(ask(), view(service, gates=(FaultGate(service, Metrics()),))), Paint())
    assert page.count("delays for 2 s") == 1
    assert page.index("what does not apply to this request") < page.index("delays for 2 s")
    assert "           because: header x-slow is 1 (there is none)" in page.splitlines()
    assert "    request headers: set x-canary: yes" in page.splitlines()
    assert "    it sees x-canary: yes" in page.splitlines()
