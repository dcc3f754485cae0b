"""Documents → routes: Gateway API's precedence and matches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.documents.gateway import GRPCRoute, HTTPRoute
from remora.documents.parse import parse_raw
from remora.documents.routes import RankedRoute, backend_places, backends, compile_routes
from remora.documents.services import compile_service
from remora.model.names import service_name
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

REVIEWS = service_name("reviews")


def document(name: str, rules: list[dict[str, Any]], kind: str = "HTTPRoute", **spec: Any) -> HTTPRoute | GRPCRoute:
    raw = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": "reviews"}], "rules": rules, **spec},
    }
    parsed = parse_raw(raw)
    assert isinstance(parsed, HTTPRoute | GRPCRoute), parsed
    return parsed


def rule(name: str, *matches: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "matches": list(matches), "backendRefs": [{"name": name}], **fields}


def path(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}, **more}


def order(*routes: RankedRoute) -> list[str]:
    return [route.name for route in compile_service(REVIEWS, routes, None).routes]


def compiled(source: HTTPRoute | GRPCRoute, revision: int, created: int) -> tuple[RankedRoute, ...]:
    """The routes of the one parent."""
    (routes,) = compile_routes(source, revision, created).values()
    return routes


def test_http_precedence() -> None:
    header = [{"name": "a", "value": "b"}]
    query = [{"name": "a", "value": "b"}]
    rules = [
        rule("none"),
        rule("query", {"queryParams": query}),
        rule("header", {"headers": header}),
        rule("method", {"method": "GET"}),
        rule("short", path("PathPrefix", "/a")),
        rule("long-query", path("PathPrefix", "/a/b", queryParams=query)),
        rule("long", path("PathPrefix", "/a/b")),
        rule("long-header", path("PathPrefix", "/a/b", headers=header)),
        rule("long-method", path("PathPrefix", "/a/b", method="GET")),
        rule("exact", path("Exact", "/a")),
    ]
    expected = ["exact", "long-method", "long-header", "long-query", "long"]
    expected += ["short", "method", "header", "query", "none"]
    assert order(*compiled(document("r", rules), 1, 1)) == [f"r/{name}" for name in expected]


def test_ties_go_to_the_older_then_the_name_then_the_order() -> None:
    young = compiled(document("a", [rule("x")]), 9, 9)
    old = compiled(document("b", [rule("x"), rule("y")]), 9, 2)
    assert order(*young, *old) == ["b/x", "b/y", "a/x"]
    same_age = compiled(document("a", [rule("x")]), 9, 2)
    assert order(*old, *same_age) == ["a/x", "b/x", "b/y"]


def test_grpc_comes_first_and_by_length() -> None:
    def method(service: str, name: str | None = None) -> dict[str, Any]:
        return {"method": {"service": service} | ({"method": name} if name else {})}

    rules = [
        rule("all"),
        rule("service", method("a.B")),
        rule("longer", method("a.Bcd")),
        rule("method", method("a.B", "Get")),
        rule("longer-method", method("a.B", "GetAll")),
    ]
    grpc = compiled(document("g", rules, "GRPCRoute"), 1, 1)
    http = compiled(document("h", [rule("exact", path("Exact", "/a.B/Get"))]), 1, 1)
    expected = ["g/longer", "g/longer-method", "g/method", "g/service", "g/all", "h/exact"]
    assert order(*http, *grpc) == expected
    by_name = {ranked.route.name: ranked.route for ranked in grpc}
    assert by_name["g/method"].match == RouteMatch(PathMatch("exact", "/a.B/Get"), "POST")
    assert by_name["g/service"].match == RouteMatch(PathMatch("prefix", "/a.B"), "POST")
    assert by_name["g/all"].match == RouteMatch(None, "POST")
    assert all(route.grpc_only for route in by_name.values())


def test_hosts_go_from_specific_to_none() -> None:
    hosts = ["*.example.com", "example.com", "a.example.com", "*.a.example.com"]
    narrow = compiled(document("n", [rule("x")], hostnames=hosts), 1, 9)
    exact = compiled(document("e", [rule("y", path("Exact", "/very/long"))]), 1, 1)
    service = compile_service(REVIEWS, (*exact, *narrow), None)
    found = [route.hostnames for route in service.routes]
    assert found == [("a.example.com",), ("example.com",), ("*.a.example.com",), ("*.example.com",), ()]
    assert service.hostnames == ("a.example.com", "example.com")


def test_a_route_of_callers_gives_no_names_that_others_would_go_by() -> None:
    parent = {"kind": "Service", "group": "", "name": "reviews", "namespace": "shop"}
    source = document("r", [rule("x")], parentRefs=[parent], hostnames=["bank.example"])
    ((name, routes),) = compile_routes(source, 1, 1).items()
    assert compile_service(name, routes, None).hostnames == ()


def test_a_rule_in_full() -> None:
    match = path("PathPrefix", "/a/", method="GET", headers=[{"name": "X-A", "value": "B"}])
    timeouts = {"request": "1m30s", "backendRequest": "500ms"}
    full = rule("x", match, timeouts=timeouts, retry={"attempts": 0, "codes": [500], "backoff": "50ms"})
    full["sessionPersistence"] = {"sessionName": "s", "idleTimeout": "1h", "type": "Header"}
    full["backendRefs"] = [{"name": "a", "weight": 3}, {"name": "b", "namespace": "other", "weight": 0}]
    source = document("r", [full])
    (ranked,) = compiled(source, 7, 1)
    route = ranked.route
    assert route.match == RouteMatch(PathMatch("prefix", "/a"), "GET", (FieldMatch("x-a", "B"),))
    assert route.backends == (Backend(service_name("a"), 3), Backend(service_name("b", "other"), 0))
    assert (route.request_timeout_s, route.retry_attempts, route.retry_codes) == (90, 0, (500,))
    assert (route.per_try_timeout_s, route.retry_backoff_s) == (0.5, 0.05)
    assert route.session == SessionPersistence("s", "header", idle_s=3600)
    assert (str(route.origin), route.origin.revision, route.origin.rule) == ("HTTPRoute default/r", 7, 0)
    assert backends(source) == {service_name("a"), service_name("b", "other")}


def test_rules_without_name_and_matches() -> None:
    (ranked,) = compiled(document("r", [{"backendRefs": [{"name": "a"}]}]), 1, 1)
    assert ranked.route.name == "r/rule-0"
    assert ranked.route.match == RouteMatch()
    assert ranked.route.request_timeout_s is None


paths = st.lists(st.sampled_from(["a", "b"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
matches = st.builds(
    lambda kind, value, method, headers: path(
        kind, value, headers=[{"name": h, "value": "1"} for h in headers], **({"method": method} if method else {})
    ),
    st.sampled_from(["Exact", "PathPrefix"]),
    paths,
    st.sampled_from(["", "GET", "PUT"]),
    st.lists(st.sampled_from(["h1", "h2"]), unique=True),
)


@given(st.lists(matches, min_size=1, max_size=12), st.randoms())
def test_precedence_does_not_depend_on_the_order_of_documents(found: list[dict[str, Any]], random: Any) -> None:
    parts = [compiled(document(f"d{i}", [rule("x", match)]), 1, i) for i, match in enumerate(found)]
    once = order(*(route for routes in parts for route in routes))
    random.shuffle(parts)
    assert order(*(route for routes in parts for route in routes)) == once


@given(st.lists(matches, min_size=2, max_size=12))
def test_a_less_specific_route_never_hides_a_more_specific_one(found: list[dict[str, Any]]) -> None:
    found_routes = compiled(document("d", [rule(f"r{i}", match) for i, match in enumerate(found)]), 1, 1)
    routes = compile_service(REVIEWS, found_routes, None).routes
    for index, first in enumerate(routes):
        for later in routes[index + 1 :]:
            assert not _is_strictly_narrower(later, first)


def _is_strictly_narrower(inner: Route, outer: Route) -> bool:
    """Whether `inner` has all conditions of `outer` and one more."""
    return inner.match.path == outer.match.path and _conditions(inner) > _conditions(outer)


def _conditions(route: Route) -> set[object]:
    """Besides the path. In which order a rule names its headers makes no difference."""
    method = {route.match.method} if route.match.method else set()
    return {*route.match.headers, *method}


def test_the_root_prefix_holds_for_everything() -> None:
    (ranked,) = compiled(document("r", [rule("x", path("PathPrefix", "/"))]), 1, 1)
    assert ranked.route.match.path is None


def test_expressions_come_after_exact_paths_and_before_prefixes() -> None:
    rules = [
        rule("prefix", path("PathPrefix", "/very/long/prefix")),
        rule("short", path("RegularExpression", "/v.*")),
        rule("long", path("RegularExpression", "/very/.*")),
        rule("exact", path("Exact", "/v")),
    ]
    assert order(*compiled(document("r", rules), 1, 1)) == ["r/exact", "r/long", "r/short", "r/prefix"]


def test_grpc_names_may_be_expressions_or_left_out() -> None:
    def method(**fields: str) -> dict[str, Any]:
        return {"method": fields}

    rules = [
        rule("one", method(type="RegularExpression", service="a\\..*", method="Get|List")),
        rule("any-service", method(method="Get", service="")),
        rule("any-method", method(type="RegularExpression", service="a.+", method="")),
    ]
    found = {ranked.route.name: ranked.route.match.path for ranked in compiled(document("g", rules, "GRPCRoute"), 1, 1)}
    assert found == {
        "g/one": PathMatch("regex", "/(?:a\\..*)/(?:Get|List)"),
        "g/any-service": PathMatch("regex", "/[^/]+/Get"),
        "g/any-method": PathMatch("regex", "/(?:a.+)/[^/]+"),
    }


def test_a_route_of_another_namespace_is_for_its_own_callers() -> None:
    parents = [
        {"kind": "Service", "group": "", "name": "reviews"},
        {"kind": "Service", "group": "", "name": "reviews", "namespace": "shop", "port": 8080},
        {"kind": "Service", "group": "", "name": "own", "namespace": "default"},
    ]
    source = document("r", [rule("x", path("PathPrefix", "/a"))], parentRefs=parents)
    routes = {service: ranked[0].route for service, ranked in compile_routes(source, 1, 1).items()}
    assert (routes[REVIEWS].consumers, routes[REVIEWS].match.port) == ("", None)
    assert routes[service_name("own")].consumers == "", "a namespace that is written out is none other"
    other = routes[service_name("reviews", "shop")]
    assert (other.consumers, other.match.port) == ("default", 8080)


def test_filters() -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b"}, "percent": 5}}
    edit = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-A", "value": "1"}]}}
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"hostname": "h", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}},
    }
    full = rule("x", path("PathPrefix", "/a"), filters=[edit, mirror, rewrite])
    full["backendRefs"][0]["filters"] = [{**edit, "requestHeaderModifier": {"remove": ["X-B"]}}]
    source = document("r", [full])
    (ranked,) = compiled(source, 1, 1)
    assert ranked.route.filters == Filters(
        request=FieldEdits(set=(("X-A", "1"),)),
        rewrite=Rewrite("h", PathRewrite("prefix", "/b")),
        mirrors=(Mirror(service_name("b"), 0.05),),
    )
    assert ranked.route.backends[0].filters == Filters(request=FieldEdits(remove=("X-B",)))
    assert backends(source) == {service_name("x"), service_name("b")}
    full["backendRefs"][0]["filters"] = [{**mirror, "requestMirror": {"backendRef": {"name": "c", "namespace": "d"}}}]
    places = dict(backend_places(document("r", [full])))
    assert places["spec.rules[0].backendRefs[0].filters[0].requestMirror.backendRef"] == "c.d"


@pytest.mark.parametrize("lifetime", ["Permanent", "Session"])
def test_sessions(lifetime: str) -> None:
    session = {
        "type": "Cookie",
        "absoluteTimeout": "1h",
        "idleTimeout": "1m",
        "cookieConfig": {"lifetimeType": lifetime},
    }
    (ranked,) = compiled(document("r", [rule("x", sessionPersistence=session)]), 1, 1)
    permanent = lifetime == "Permanent"
    assert ranked.route.session == SessionPersistence("remora-r-x", "cookie", 3600, 60, permanent)


def test_filters_in_full() -> None:
    fraction = {"numerator": 1, "denominator": 1000}
    cors = {
        "allowOrigins": ["https://a"],
        "allowCredentials": True,
        "allowMethods": ["PUT"],
        "allowHeaders": ["x-a"],
        "exposeHeaders": ["x-b"],
        "maxAge": 60,
    }
    redirect = {
        "scheme": "https",
        "hostname": "h",
        "port": 8443,
        "statusCode": 308,
        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/a"},
    }
    filters = [
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b"}, "fraction": fraction}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "c", "namespace": "d"}}},
        {"type": "CORS", "cors": cors},
        {"type": "RequestRedirect", "requestRedirect": redirect},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x", "value": "1"}]}},
    ]
    (ranked,) = compiled(document("r", [{"filters": filters}]), 1, 1)
    assert ranked.route.filters == Filters(
        response=FieldEdits(add=(("x", "1"),)),
        redirect=Redirect("https", "h", 8443, PathRewrite("full", "/a"), 308),
        mirrors=(Mirror(service_name("b"), 0.001), Mirror(service_name("c", "d"), 1.0)),
        cors=Cors(("https://a",), True, ("PUT",), ("x-a",), ("x-b",), 60),
    )
