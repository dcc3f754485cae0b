"""What a shared cache may keep, and for whom: RFC 9111, stricter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import LastGood
from remora.sidecar.policy.last_good import MAX_BODY_BYTES, MAX_VARIANTS, LastGoodCache
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead

ROUTE = "default"


def request(*fields: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/x") -> RequestHead:
    return RequestHead(method, path, b"shop", list(fields))


def found(
    answer: Fields,
    *,
    asked: RequestHead | None = None,
    later: RequestHead | None = None,
    status: int = 200,
    after_s: float = 1.0,
    config: LastGood | None = None,
) -> bytes | None:
    """The body that `later` gets of what `asked` was answered before."""
    cache = LastGoodCache(config or LastGood())
    cache.keep(ROUTE, asked or request(), ResponseHead(status, answer), b"body", 100.0)
    kept = cache.find(ROUTE, later or request(), 100.0 + after_s)
    return None if kept is None else kept.body


def test_a_plain_answer_is_kept() -> None:
    assert found([]) == b"body"
    assert found([(b"Cache-Control", b"max-age=0")]) == b"body", "stale is what it is for"


@pytest.mark.parametrize(
    "directives", [b"no-store", b"private", b"No-Cache", b'private="x"', b"max-age=60, no-store", b'no-cache="a, b"']
)
def test_what_must_not_be_kept_is_not(directives: bytes) -> None:
    assert found([(b"cache-control", directives)]) is None
    assert found([(b"cache-control", b"public"), (b"Cache-Control", directives)]) is None


def test_only_200_to_get() -> None:
    assert found([], status=404) is None
    assert found([], status=206) is None
    assert found([], asked=request(method=b"POST")) is None
    assert found([], later=request(method=b"POST")) is None
    assert found([], asked=request((b"cache-control", b"no-store"))) is None


@pytest.mark.parametrize("name", [b"Authorization", b"cookie"])
def test_personal_answers_are_kept_only_if_they_are_public(name: bytes) -> None:
    mine = request((name, b"me"))
    assert found([], asked=mine) is None
    assert found([], later=mine) is None, "to somebody known the service may say something else"
    assert found([(b"set-cookie", b"a=1")]) is None
    public = [(b"cache-control", b"public"), (b"set-cookie", b"a=1")]
    assert found(public, asked=mine) == b"body"
    assert found(public, later=mine) == b"body"


@pytest.mark.parametrize("name", [b"X-User-Id", b"x-api-key", b"x-forwarded-for", b"Baggage", b"x-amzn-oidc-data"])
def test_what_is_not_public_is_for_who_has_asked(name: bytes) -> None:
    """However a service knows its users."""
    ann, bob = request((name, b"ann"), (b"accept", b"a/b")), request((name, b"bob"))
    assert found([], asked=ann, later=request((name, b"ann"), (b"user-agent", b"c"))) == b"body"
    assert found([], asked=ann, later=bob) is None
    assert found([], asked=ann) is None
    assert found([], later=ann) is None
    assert found([(b"cache-control", b"max-age=9, public")], asked=ann, later=bob) == b"body"


@given(st.data())
def test_nobody_gets_what_another_user_was_told(data: st.DataObject) -> None:
    names = [b"authorization", b"cookie", b"x-user", b"x-tenant", b"accept-language", b"traceparent", b"x-b3-traceid"]
    telling = names[:4]
    users = st.lists(
        st.tuples(st.sampled_from(names), st.sampled_from([b"1", b"2"])), max_size=3, unique_by=lambda f: f[0]
    )
    cache, now = LastGoodCache(LastGood()), 0.0
    for fields in data.draw(st.lists(users, max_size=12)):
        now += 1
        who = sorted(field for field in fields if field[0] in telling)
        kept = cache.find(ROUTE, request(*fields), now)
        assert kept is None or kept.body == repr(who).encode()
        cache.keep(ROUTE, request(*fields), ResponseHead(200, []), repr(who).encode(), now)


def test_routes_are_kept_apart() -> None:
    cache = LastGoodCache(LastGood())
    cache.keep("stable", request(), ResponseHead(200, []), b"1", 0.0)
    cache.keep("beta", request(), ResponseHead(200, []), b"2", 0.0)
    assert [
        kept and kept.body for kept in (cache.find(route, request(), 1.0) for route in ("stable", "beta", "x"))
    ] == [
        b"1",
        b"2",
        None,
    ]


@pytest.mark.parametrize(
    ("method", "status", "is_forgotten"),
    [
        (b"PUT", 204, True),
        (b"DELETE", 303, True),
        (b"BREW", 200, True),
        (b"POST", 404, False),
        (b"HEAD", 200, False),
        (b"GET", 404, True),
        (b"GET", 410, True),
        (b"GET", 403, False),
        (b"GET", 304, False),
        (b"GET", 429, False),
    ],
)
def test_what_was_written_to_or_is_gone_is_forgotten(method: bytes, status: int, is_forgotten: bool) -> None:
    cache = LastGoodCache(LastGood())
    for path in (b"/x", b"/y"):
        cache.keep(ROUTE, request(path=path), ResponseHead(200, []), b"body", 0.0)
    cache.note(request(method=method), status)
    assert (cache.find(ROUTE, request(), 1.0) is None) is is_forgotten
    assert cache.find(ROUTE, request(path=b"/y"), 1.0)
    cache.note(request(method=b"PUT", path=b"/x"), 200)
    cache.note(request(method=b"PUT", path=b"/y"), 200)
    assert cache.size == 0


def test_a_newer_answer_takes_the_place_of_all_that_would_have_been_found() -> None:
    cache = LastGoodCache(LastGood())
    public = ResponseHead(200, [(b"cache-control", b"public")])
    ann = request((b"x-user", b"ann"))
    cache.keep(ROUTE, ann, ResponseHead(200, []), b"for ann", 0.0)
    cache.keep(ROUTE, request(), public, b"for all", 1.0)
    kept = cache.find(ROUTE, ann, 2.0)
    assert kept is not None
    assert kept.body == b"for all"
    cache.keep(ROUTE, request((b"x-user", b"bob")), ResponseHead(200, []), b"for bob", 3.0)
    assert cache.find(ROUTE, request(), 4.0) is None, "it is not public any more"


def test_an_encoding_that_was_asked_for_is_for_those_who_ask_for_it() -> None:
    packed = [(b"content-encoding", b"br")]
    takes_br = request((b"accept-encoding", b"br"))
    assert found(packed, asked=takes_br, later=takes_br) == b"body"
    assert found(packed, asked=takes_br) is None


def test_what_is_quoted_is_no_directive() -> None:
    assert found([(b"cache-control", b'x="a, public, b"')], asked=request((b"cookie", b"me"))) is None
    assert found([(b"cache-control", b'x="a, no-store, b"')]) == b"body"


def test_all_that_is_kept_is_weighed() -> None:
    cache = LastGoodCache(LastGood(max_bytes=65536))
    for number in range(100):
        path, user = b"/%04d" % number + b"x" * 4000, (b"x-user", b"y" * 4000)
        cache.keep(ROUTE, request(user, (b"a", b"z" * 4000), path=path), ResponseHead(200, [(b"vary", b"a")]), b"", 0.0)
    assert cache.size <= 65536
    assert len(cache._by_place) <= 65536 / 16000


def test_what_is_used_stays() -> None:
    cache = LastGoodCache(LastGood(max_bytes=3 * 40_000))
    first, second, *others = (request(path=b"/%d" % number) for number in range(4))
    for asked in (first, second, *others):
        cache.keep(ROUTE, asked, ResponseHead(200, []), b"x" * 40_000, 0.0)
        cache.find(ROUTE, first, 1.0)
    assert cache.find(ROUTE, first, 2.0)
    assert cache.find(ROUTE, second, 2.0) is None


def test_cookies_are_not_handed_on() -> None:
    cache = LastGoodCache(LastGood())
    head = ResponseHead(200, [(b"Set-Cookie", b"a=1"), (b"cache-control", b"public"), (b"x", b"y")])
    cache.keep(ROUTE, request(), head, b"", 0.0)
    kept = cache.find(ROUTE, request(), 1.0)
    assert kept is not None
    assert kept.fields == [(b"cache-control", b"public"), (b"x", b"y")]


def test_a_caller_that_wants_it_fresh_gets_nothing_old() -> None:
    assert found([], later=request((b"cache-control", b"no-cache"))) is None


def test_age_counts_from_where_it_was_made() -> None:
    cache = LastGoodCache(LastGood())
    cache.keep(ROUTE, request(), ResponseHead(200, [(b"age", b"30")]), b"", 100.0)
    kept = cache.find(ROUTE, request(), 112.5)
    assert kept is not None
    assert kept.age(112.5) == 42
    assert (b"age", b"30") not in kept.fields


def test_it_is_used_as_long_as_the_policy_and_the_answer_allow() -> None:
    assert found([], after_s=299.0) == b"body"
    assert found([], after_s=301.0) is None
    for directives in (b"max-age=60, must-revalidate", b"s-maxage=60", b"max-age=900, s-maxage=60"):
        fields = [(b"cache-control", directives), (b"age", b"20")]
        assert found(fields, after_s=39.0) == b"body"
        assert found(fields, after_s=41.0) is None
    assert found([(b"cache-control", b"must-revalidate")]) is None


def test_variants_are_kept_apart() -> None:
    vary = (b"vary", b"Accept-Language, Accept")
    cache = LastGoodCache(LastGood())
    for number in range(3 * MAX_VARIANTS):
        asked = request((b"accept-language", b"%d" % number))
        cache.keep(ROUTE, asked, ResponseHead(200, [vary]), b"%d" % number, 0.0)
    for number in range(3 * MAX_VARIANTS):
        kept = cache.find(ROUTE, request((b"Accept-Language", b" %d" % number)), 1.0)
        assert (None if kept is None else kept.body) == (None if number < 2 * MAX_VARIANTS else b"%d" % number)
    assert found([(b"vary", b"*")]) is None
    assert found([(b"vary", b"accept")], later=request((b"accept", b"text/html"))) is None


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, MAX_BODY_BYTES + 1), st.booleans()), max_size=80),
    st.integers(65536, 400_000),
)
def test_it_never_takes_more_than_it_may(steps: list[tuple[int, int, bool]], limit: int) -> None:
    cache = LastGoodCache(LastGood(max_bytes=limit))
    newest: dict[int, bytes] = {}
    for now, (place, size, finds) in enumerate(steps):
        asked = request(path=b"/%d" % place)
        if finds:
            kept = cache.find(ROUTE, asked, float(now))
            assert kept is None or kept.body == newest[place]
        elif size <= MAX_BODY_BYTES:
            newest[place] = b"%d" % now + b"x" * (size - 2)
            cache.keep(ROUTE, asked, ResponseHead(200, []), newest[place], float(now))
        else:
            cache.keep(ROUTE, asked, ResponseHead(200, []), b"x" * size, float(now))
        assert 0 <= cache.size <= limit
    cache.configure(LastGood(max_bytes=0))
    assert cache.size == 0
