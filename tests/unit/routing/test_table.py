"""The route table against the plain meaning of routes: the first in order of precedence that matches."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.base import Origin
from remora.model.limits import Fault, RateLimit, ServiceLimits
from remora.model.names import service_name
from remora.model.policies import RetryPolicy, ServicePolicy, Timeouts
from remora.model.routes import Backend, FieldMatch, Filters, PathMatch, PathRewrite, Rewrite, Route, RouteMatch
from remora.model.snapshot import Service, Snapshot, SnapshotError
from remora.sidecar.routing.table import MAX_AUTHORITIES, CompiledRoute, CompiledService, RouteTable
from remora.sidecar.wire.heads import RequestHead

SHOP = service_name("shop")
ORIGIN = Origin("HTTPRoute", "default", "shop")


def route(name: str, match: RouteMatch, **fields: object) -> Route:
    return Route(name, ORIGIN, match, (Backend(SHOP),), **fields)  # type: ignore[arg-type]


def ask(path: bytes = b"/", method: bytes = b"GET", authority: bytes = b"shop", **fields: bytes | None) -> RequestHead:
    content_type = fields.pop("content_type", None)
    headers = [(name.encode(), value) for name, value in fields.items() if value is not None]
    return RequestHead(method, path, authority, headers, content_type=content_type)


def decide(routes: list[Route], head: RequestHead) -> str | None:
    found = CompiledService(Service(SHOP, tuple(routes))).route(head)
    return None if found is None else found.name


SEGMENT = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(SEGMENT, max_size=3).map(lambda parts: "/" + "/".join(parts))


def path_holds(match: PathMatch, path: str) -> bool:
    if match.kind == "exact":
        return path == match.value
    prefix = match.value.rstrip("/")
    return path == prefix or path.startswith(prefix + "/") or match.value == "/"


@given(
    st.lists(st.tuples(st.sampled_from(["exact", "prefix"]), PATHS), max_size=8),
    PATHS,
    st.sampled_from(["", "?", "?x=/a", "/"]),
)
def test_the_index_finds_what_a_walk_over_all_routes_finds(paths: list[tuple[str, str]], path: str, rest: str) -> None:
    matches = [PathMatch(kind, value) for kind, value in paths]  # type: ignore[arg-type]
    routes = [route(str(index), RouteMatch(match)) for index, match in enumerate(matches)]
    target = path + rest
    asked = target.partition("?")[0]
    expected = next((str(index) for index, match in enumerate(matches) if path_holds(match, asked)), None)
    if routes:
        assert decide(routes, ask(target.encode())) == expected


def test_prefixes_match_whole_segments() -> None:
    routes = [route("a", RouteMatch(PathMatch("prefix", "/a")))]
    assert decide(routes, ask(b"/a")) == decide(routes, ask(b"/a/b")) == decide(routes, ask(b"/a?b")) == "a"
    assert decide(routes, ask(b"/ab")) is None


@pytest.mark.parametrize(
    ("match", "head", "holds"),
    [
        (RouteMatch(method="POST"), ask(), False),
        (RouteMatch(method="POST"), ask(method=b"POST"), True),
        (RouteMatch(headers=(FieldMatch("x-a", "1"),)), ask(), False),
        (RouteMatch(headers=(FieldMatch("x-a", "1"),)), ask(**{"X-A": b"1"}), True),
        (RouteMatch(headers=(FieldMatch("x-a", "1"), FieldMatch("x-b", "2"))), ask(**{"x-a": b"1"}), False),
        (RouteMatch(headers=(FieldMatch("content-type", "a/b"),)), ask(content_type=b"a/b"), True),
        (RouteMatch(query=(FieldMatch("q", "1"),)), ask(b"/?q=1&x"), True),
        (RouteMatch(query=(FieldMatch("q", "1"),)), ask(b"/?q=2&q=1"), False),
        (RouteMatch(query=(FieldMatch("q", "a b"),)), ask(b"/?q=a%20b"), True),
        (RouteMatch(query=(FieldMatch("q", "1"),)), ask(), False),
        (RouteMatch(query=(FieldMatch("q", "[0-9]+", "regex"),)), ask(b"/?q=12"), True),
        (RouteMatch(query=(FieldMatch("q", "[0-9]+", "regex"),)), ask(b"/?q=12a"), False),
        (RouteMatch(query=(FieldMatch("q", ".*", "regex"),)), ask(), False),
        (RouteMatch(query=(FieldMatch("q", ".*", "regex"),)), ask(b"/?q"), True),
        (RouteMatch(query=(FieldMatch("q", "1"),)), ask(b"/?q=1&q=2"), True),
        (RouteMatch(query=(FieldMatch("q", "2"),)), ask(b"/?q=1&q=2"), False),
        (RouteMatch(headers=(FieldMatch("x-a", "a|b", "regex"),)), ask(**{"x-a": b"b"}), True),
        (RouteMatch(headers=(FieldMatch("x-a", "a|b", "regex"),)), ask(**{"x-a": b"ab"}), False),
        (RouteMatch(headers=(FieldMatch("cookie", "(.*; *)?g=1(;.*)?", "regex"),)), ask(cookie=b"a=2; g=1; b=3"), True),
        (RouteMatch(headers=(FieldMatch("cookie", "(.*; *)?g=1(;.*)?", "regex"),)), ask(cookie=b"a=2; g=11"), False),
        (RouteMatch(PathMatch("regex", "/a/[0-9]+")), ask(b"/a/12?b"), True),
        (RouteMatch(PathMatch("regex", "/a/[0-9]+")), ask(b"/a/12/b"), False),
        (RouteMatch(port=80), ask(), True),
        (RouteMatch(port=80), ask(authority=b"shop:8080"), False),
        (RouteMatch(port=8080), ask(authority=b"shop:8080"), True),
    ],
)
def test_the_rest_of_a_match(match: RouteMatch, head: RequestHead, holds: bool) -> None:
    assert (decide([route("it", match)], head) == "it") is holds


def test_hostnames_and_grpc_narrow_a_route() -> None:
    narrowed = [route("it", RouteMatch(), hostnames=("shop.example", "*.shop.example"))]
    assert decide(narrowed, ask(authority=b"SHOP.example:80")) == "it"
    assert decide(narrowed, ask(authority=b"a.b.shop.example")) == "it"
    assert decide(narrowed, ask(authority=b"shop")) is None
    grpc = [route("it", RouteMatch(), grpc_only=True)]
    assert decide(grpc, ask(content_type=b"application/grpc+proto")) == "it"
    assert decide(grpc, ask(content_type=b"application/grpc-web")) is None


def test_a_service_without_routes_goes_to_itself() -> None:
    found = CompiledService(Service(SHOP)).route(ask(b"/anything"))
    assert found is not None
    backend = found.backend(0.5)
    assert backend is not None
    assert backend.service == SHOP


def test_backends_by_weight_and_zero_never() -> None:
    one, two, never = (service_name(name) for name in ("one", "two", "never"))
    weighted = Route("w", ORIGIN, RouteMatch(), (Backend(one, 1), Backend(never, 0), Backend(two, 3)))
    found = CompiledService(Service(SHOP, (weighted,))).route(ask())
    assert found is not None
    seen = Counter(backend.service for draw in range(1000) if (backend := found.backend(draw / 1000)))
    assert seen == {one: 250, two: 750}
    silent = Route("s", ORIGIN, RouteMatch(), (Backend(one, 0),))
    nowhere = CompiledService(Service(SHOP, (silent,))).route(ask())
    assert nowhere is not None
    assert nowhere.backend(0.5) is None


def test_services_are_found_by_all_their_names() -> None:
    other = Service(service_name("pay", "bank"), hostnames=("pay.example.com",))
    table = RouteTable(Snapshot(1, {SHOP: Service(SHOP), other.name: other}), "default")

    def found(authority: bytes) -> str | None:
        compiled = table.find(authority)
        return None if compiled is None else compiled.service.name

    for authority in (
        b"shop",
        b"shop:80",
        b"Shop.Default",
        b"shop.default.svc",
        b"shop.default.svc.cluster.local:8080",
    ):
        assert found(authority) == SHOP
    assert found(b"pay.bank") == found(b"pay.example.com") == "pay.bank"
    for authority in (b"", b"pay", b"127.0.0.1:80", b"[::1]:80", b"shop:x", b"\xff", b"example.com"):
        assert found(authority) is None


def test_nobody_draws_away_requests_by_the_name_of_another_service() -> None:
    pay = service_name("pay", "bank")
    thieves = [Service(service_name(name, "evil"), hostnames=("pay.bank", "pay.example.com")) for name in ("b", "a")]
    table = RouteTable(Snapshot(1, {each.name: each for each in (*thieves, Service(pay))}), "default")
    for authority, expected in ((b"pay.bank:80", pay), (b"pay.example.com", "a.evil")):
        found = table.find(authority)
        assert found is not None
        assert found.service.name == expected


@pytest.mark.parametrize("pattern", ["/(", "\\1", "a{1000}" * 200])
def test_an_expression_that_control_should_not_have_let_through_is_told(pattern: str) -> None:
    for match in (RouteMatch(PathMatch("regex", pattern)), RouteMatch(query=(FieldMatch("q", pattern, "regex"),))):
        with pytest.raises(SnapshotError, match=r"a route of shop\.default has an expression"):
            RouteTable(Snapshot(1, {SHOP: Service(SHOP, (route("r", match),))}), "default")


@pytest.mark.parametrize("where", ["limit", "fault", "own limit"])
def test_so_is_one_of_what_is_compiled_after_the_routes(where: str) -> None:
    matches = (RouteMatch(PathMatch("regex", "/(")),)
    limits = ServiceLimits((RateLimit(SHOP, "l", ORIGIN, 1, matches=matches),) if where != "fault" else ())
    faults = (Fault(ORIGIN, matches),) if where == "fault" else ()
    service = Service(SHOP, limits=limits, faults=faults)
    snapshot = Snapshot(1, own=service) if where == "own limit" else Snapshot(1, {SHOP: service})
    with pytest.raises(SnapshotError, match=rf"a {where[-5:]} of shop\.default has an expression"):
        RouteTable(snapshot, "default")


def test_an_expression_stands_in_its_place_among_paths() -> None:
    routes = [
        route("exact", RouteMatch(PathMatch("exact", "/a/b"))),
        route("regex", RouteMatch(PathMatch("regex", "/a/.*"))),
        route("prefix", RouteMatch(PathMatch("prefix", "/a"))),
    ]
    assert [decide(routes, ask(path)) for path in (b"/a/b", b"/a/c", b"/a", b"/b")] == [
        "exact",
        "regex",
        "prefix",
        None,
    ]


def test_who_has_routes_of_its_own_uses_no_others() -> None:
    routes = [route("ours", RouteMatch()), route("theirs", RouteMatch(), consumers="web")]
    service = Service(SHOP, tuple(routes))
    for namespace, expected in (("web", "theirs"), ("default", "ours"), ("", "ours")):
        found = CompiledService(service, namespace).route(ask())
        assert found is not None
        assert found.name == expected
    alone = CompiledService(Service(SHOP, (routes[1],)), "default").route(ask())
    assert alone is not None
    assert alone.name == "default", "routes of others are as good as none"


@pytest.mark.parametrize(
    ("rule", "backend", "expected"),
    [
        (None, PathRewrite("prefix", "/b"), b"/b/x?q"),
        (PathRewrite("prefix", "/longer/"), PathRewrite("prefix", "/b"), b"/b/x?q"),
        (PathRewrite("full", "/all"), PathRewrite("prefix", "/b"), b"/b?q"),
        (PathRewrite("prefix", "/b"), PathRewrite("full", "/all"), b"/all?q"),
        (PathRewrite("prefix", "/b"), None, b"/b/x?q"),
    ],
)
def test_a_backend_rewrites_what_its_rule_has_rewritten(
    rule: PathRewrite | None, backend: PathRewrite | None, expected: bytes
) -> None:
    own = Backend(SHOP, filters=Filters(rewrite=Rewrite(path=backend)))
    match = RouteMatch(PathMatch("prefix", "/a"))
    rewriting = Route("r", ORIGIN, match, (own,), filters=Filters(rewrite=Rewrite(path=rule)))
    head = ask(b"/a/x?q")
    compiled = CompiledService(Service(SHOP, (rewriting,))).route(head)
    assert compiled is not None
    for filters in (compiled.filters, compiled.backends[0].filters):
        assert filters is not None
        filters.edit_request(head)
    assert head.path == expected


@pytest.mark.parametrize(
    ("backoff", "expected"), [(None, (0.0, 0.025, 0.25)), (0.01, (0.01, 0.02, 0.25)), (1, (1, 2, 10))]
)
def test_the_backoff_of_a_rule_is_its_least(backoff: float | None, expected: tuple[float, float, float]) -> None:
    compiled = CompiledService(Service(SHOP, (route("r", RouteMatch(), retry_backoff_s=backoff),))).route(ask())
    assert compiled is not None
    retry = compiled.retry
    assert (retry.backoff_least_s, retry.backoff_base_s, retry.backoff_cap_s) == expected


def test_a_rule_says_otherwise_than_the_policy_what_it_says() -> None:
    policy = ServicePolicy(retry=RetryPolicy(attempts=5, codes=(500,), per_try_s=3.0), timeouts=Timeouts(request_s=9.0))

    def rule(**fields: object) -> CompiledRoute:
        service = Service(SHOP, (route("r", RouteMatch(), **fields),), policy)
        compiled = CompiledService(service).route(ask())
        assert compiled is not None
        return compiled

    silent = rule()
    assert (silent.retry, silent.request_timeout_s) == (policy.retry, 9.0)
    own = rule(retry_attempts=0, retry_codes=(), per_try_timeout_s=0.0, request_timeout_s=2.0)
    assert (own.retry.attempts, own.retry.codes, own.retry.per_try_s) == (0, (), 0.0)
    assert own.request_timeout_s == 2.0
    assert own.retry.tells_timeout, "what is configured is told"
    assert not rule(request_timeout_s=0.0).retry.tells_timeout, "no limit is none to tell"


def test_a_flood_of_authorities_is_not_remembered() -> None:
    table = RouteTable(Snapshot(1, {SHOP: Service(SHOP)}), "default")
    for authority in (b"a" * 300, *(b"shop:%d" % port for port in range(MAX_AUTHORITIES + 10))):
        assert (table.find(authority) is None) == (authority[:4] != b"shop")
    assert len(table._by_authority) == MAX_AUTHORITIES
    assert b"a" * 300 not in table._by_authority
