"""Session tokens: what is made is read back, what is made up is no session, and times end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.routes import PathMatch, PathMatchKind, SessionPersistence
from remora.sidecar.routing.session import Session, SessionRule, cookie_value, make_token, read_token
from remora.sidecar.wire.heads import RequestHead

RULE = SessionPersistence("s")
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:[]", min_size=1, max_size=40)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(names, ids, st.integers(0, 2**33), st.integers(0, 2**33))
def test_what_is_made_is_read_back(service: str, endpoint: str, begun: int, used: int) -> None:
    session = Session(service, endpoint, begun, used)
    token = make_token(session)
    assert read_token(token, RULE, used) == session
    assert not set(token) & set(b' ",;=\\')


@given(st.binary(max_size=100))
def test_what_is_made_up_is_no_session_or_a_harmless_one(token: bytes) -> None:
    session = read_token(token, RULE, 0.0)
    assert session is None or read_token(make_token(session), RULE, 0.0) == session


def test_times_end() -> None:
    token = make_token(Session("a", "b", 1000, 1500))
    assert read_token(token, SessionPersistence("s", absolute_s=600), 1600)
    assert not read_token(token, SessionPersistence("s", absolute_s=600), 1601)
    assert read_token(token, SessionPersistence("s", idle_s=60), 1560)
    assert not read_token(token, SessionPersistence("s", idle_s=60), 1561)


def told(rule: SessionRule, known: Session | None, now: float) -> str:
    field = rule.told(known, "shop", "a", now)
    return "" if field is None else f"{field[0].decode()}: {field[1].decode()}"


def token(begun: int, used: int) -> str:
    return make_token(Session("shop", "a", begun, used)).decode()


def test_the_client_is_told_what_is_new() -> None:
    rule = SessionRule(RULE, PathMatch("prefix", "/a"))
    assert told(rule, None, 1000.7) == f"set-cookie: s={token(1000, 1000)}; Path=/a; HttpOnly"
    assert told(rule, Session("shop", "a", 1000, 1000), 2000) == ""
    assert told(rule, Session("shop", "b", 1000, 1000), 2000) == f"set-cookie: s={token(2000, 2000)}; Path=/a; HttpOnly"


def test_a_session_that_idles_out_is_renewed_when_it_is_used() -> None:
    rule = SessionRule(SessionPersistence("X-S", "header", idle_s=60.0), None)
    assert told(rule, Session("shop", "a", 1000, 1500), 1500.9) == ""
    assert told(rule, Session("shop", "a", 1000, 1500), 1501) == f"X-S: {token(1000, 1501)}"


def test_a_permanent_cookie_lives_as_long_as_the_session() -> None:
    rule = SessionRule(SessionPersistence("s", permanent=True, absolute_s=3600, idle_s=60), None)
    assert told(rule, None, 1000).endswith("; Path=/; HttpOnly; Max-Age=3600")
    assert told(rule, Session("shop", "a", 1000, 1050), 1100).endswith("; Max-Age=3500")
    assert told(SessionRule(SessionPersistence("s", permanent=True, absolute_s=0.5), None), None, 1000).endswith("=1")


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("exact", "/a/b", "/a/b"),
        ("prefix", "/a/b;v=1/c", "/a"),
        ("exact", "/b;v=1", "/"),
        ("regex", "/p1/p2/.*/p3", "/p1/p2"),
        ("regex", "/p1/p2", "/p1"),
        ("regex", "/(a|b)/c", "/"),
        ("regex", ".*", "/"),
    ],
)
def test_a_session_holds_where_the_route_matches(kind: PathMatchKind, path: str, expected: str) -> None:
    assert f"; Path={expected};" in told(SessionRule(RULE, PathMatch(kind, path)), None, 0)


def test_sessions_are_read_from_where_they_are_kept() -> None:
    kept = Session("shop", "a", 1000, 1000)
    value = make_token(kept)
    cookie = RequestHead(b"GET", b"/", b"shop", [(b"cookie", b"x=1; s=" + value)])
    header = RequestHead(b"GET", b"/", b"shop", [(b"X-s", value)])
    assert SessionRule(RULE, None).read(cookie, 1000) == kept
    assert SessionRule(RULE, None).read(header, 1000) is None
    by_header = SessionRule(SessionPersistence("x-S", "header"), None)
    assert by_header.read(header, 1000) == kept
    assert by_header.read(cookie, 1000) is None


def test_cookies() -> None:
    fields = [(b"Cookie", b"a=1; s=first; s=second"), (b"cookie", b"b=2")]
    assert cookie_value(fields, b"s") == b"first"
    assert cookie_value(fields, b"b") == b"2"
    assert cookie_value(fields, b"c") is None
