"""A prefix as etcd's range of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.control.store.etcd.ranges import decode_key, encode_key, range_end

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), TEXT, st.booleans())
def test_the_range_holds_just_the_keys_with_the_prefix(prefix: str, other: str, extend: bool) -> None:
    key = prefix + other if extend else other
    assert (encode_key(prefix) <= encode_key(key) < range_end(prefix)) == key.startswith(prefix)


@given(TEXT)
def test_a_key_comes_back(key: str) -> None:
    assert decode_key(encode_key(key)) == key


def test_bytes_that_are_no_text_become_readable() -> None:
    assert decode_key(b"/mesh/\xff") == "/mesh/\\xff"


def test_the_empty_prefix_has_no_end() -> None:
    assert range_end("") == b"\0"
