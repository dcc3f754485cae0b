"""What requests are counted apart by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.limits import LimitKey
from remora.sidecar.routing.limit_keys import MAX_KEY_BYTES, joined_values
from remora.sidecar.wire.heads import RequestHead

KEYS = (LimitKey("header", "x-user"), LimitKey("header", "x-plan"))


def head(user: bytes, plan: bytes) -> RequestHead:
    return RequestHead(b"GET", b"/a?b=c", b"shop", [(b"X-User", user), (b"X-Plan", plan)], peer="192.0.2.1")


values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=100).map(str.encode)


@given(values, values, values, values)
def test_requests_with_other_values_have_another_key_and_keys_are_short(
    user: bytes, plan: bytes, other: bytes, another: bytes
) -> None:
    first, second = joined_values(KEYS, head(user, plan)), joined_values(KEYS, head(other, another))
    assert first is not None
    assert len(first) <= MAX_KEY_BYTES
    assert (first == second) == ((user, plan) == (other, another))


def test_where_values_meet_makes_a_difference() -> None:
    assert joined_values(KEYS, head(b"ab", b"c")) != joined_values(KEYS, head(b"a", b"bc"))


def test_each_kind() -> None:
    request = head(b"ann", b"gold")
    for key, value in (
        (LimitKey("header", "x-user"), b"ann"),
        (LimitKey("path"), b"/a"),
        (LimitKey("method"), b"GET"),
        (LimitKey("peer"), b"192.0.2.1"),
        (LimitKey("address"), b"192.0.2.1"),
        (LimitKey("header", "x-other"), None),
    ):
        assert joined_values((key,), request) == value
    assert joined_values((LimitKey("peer"),), RequestHead(b"GET", b"/", b"shop", [])) is None
