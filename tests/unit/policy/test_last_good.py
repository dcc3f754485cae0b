"""What a shared cache may keep, and for whom: RFC 9111, stricter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import LastGood
from remora.sidecar.policy.last_good import MAX_BODY_BYTES, MAX_VARIANTS, LastGoodCache, Target
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead

TARGET: Target = ("default", b"shop", b"/x")


def request(*fields: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, b"/x", b"shop", list(fields))


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
    cache.keep(TARGET, asked or request(), ResponseHead(status, answer), b"body", 100.0)
    kept = cache.find(TARGET, later or request(), 100.0 + after_s)
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


def test_cookies_are_not_handed_on() -> None:
    cache = LastGoodCache(LastGood())
    head = ResponseHead(200, [(b"Set-Cookie", b"a=1"), (b"cache-control", b"public"), (b"x", b"y")])
    cache.keep(TARGET, request(), head, b"", 0.0)
    kept = cache.find(TARGET, request(), 1.0)
    assert kept is not None
    assert kept.fields == [(b"cache-control", b"public"), (b"x", b"y")]


def test_a_caller_that_wants_it_fresh_gets_nothing_old() -> None:
    assert found([], later=request((b"cache-control", b"no-cache"))) is None


def test_age_counts_from_where_it_was_made() -> None:
    cache = LastGoodCache(LastGood())
    cache.keep(TARGET, request(), ResponseHead(200, [(b"age", b"30")]), b"", 100.0)
    kept = cache.find(TARGET, request(), 112.5)
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
        cache.keep(TARGET, asked, ResponseHead(200, [vary]), b"%d" % number, 0.0)
    for number in range(3 * MAX_VARIANTS):
        kept = cache.find(TARGET, request((b"Accept-Language", b" %d" % number)), 1.0)
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
        target = ("default", b"shop", b"/%d" % place)
        if finds:
            kept = cache.find(target, request(), float(now))
            assert kept is None or kept.body == newest[place]
        elif size <= MAX_BODY_BYTES:
            newest[place] = b"%d" % now + b"x" * (size - 2)
            cache.keep(target, request(), ResponseHead(200, []), newest[place], float(now))
        else:
            cache.keep(target, request(), ResponseHead(200, []), b"x" * size, float(now))
        assert 0 <= cache.size <= limit
    cache.configure(LastGood(max_bytes=0))
    assert cache.size == 0
