"""Session tokens: what is made is read back, what is made up is no session, and times end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.routes import SessionPersistence
from remora.sidecar.routing.session import Session, cookie_value, make_token, read_token, set_cookie

RULE = SessionPersistence("s")
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:[]", min_size=1, max_size=40)


@given(names, names, st.integers(0, 2**33), st.integers(0, 2**33))
def test_what_is_made_is_read_back(service: str, endpoint: str, begun: int, used: int) -> None:
    session = Session(service, endpoint, begun, used)
    token = make_token(session)
    assert read_token(token, RULE, used) == session
    assert not set(token) & set(b' ",;=\\')


@given(st.binary(max_size=100))
def test_what_is_made_up_is_no_session_or_a_harmless_one(token: bytes) -> None:
    session = read_token(token, RULE, 0.0)
    assert session is None or "|" not in session.endpoint


def test_times_end() -> None:
    token = make_token(Session("a", "b", 1000, 1500))
    assert read_token(token, SessionPersistence("s", absolute_s=600), 1600)
    assert not read_token(token, SessionPersistence("s", absolute_s=600), 1601)
    assert read_token(token, SessionPersistence("s", idle_s=60), 1560)
    assert not read_token(token, SessionPersistence("s", idle_s=60), 1561)


def test_cookies() -> None:
    assert set_cookie(RULE, b"T", "/a") == b"s=T; Path=/a; HttpOnly"
    permanent = SessionPersistence("s", permanent=True, absolute_s=3600)
    assert set_cookie(permanent, b"T", "") == b"s=T; Path=/; HttpOnly; Max-Age=3600"
    fields = [(b"Cookie", b"a=1; s=first; s=second"), (b"cookie", b"b=2")]
    assert cookie_value(fields, b"s") == b"first"
    assert cookie_value(fields, b"b") == b"2"
    assert cookie_value(fields, b"c") is None
