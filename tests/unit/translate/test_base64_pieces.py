"""Base64 cut anywhere and padded in the middle."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.translate.base64_pieces import Base64Error, Base64Reader, encode


@given(st.lists(st.binary()), st.data())
def test_pieces_are_joined(messages: list[bytes], data: st.DataObject) -> None:
    text = b"".join(encode(message) for message in messages)
    reader, found, at = Base64Reader(), b"", 0
    while at < len(text):
        after = data.draw(st.integers(at + 1, len(text)))
        found += reader.feed(text[at:after], after == len(text))
        at = after
    assert found + reader.feed(b"", True) == b"".join(messages)


@given(st.lists(st.binary()))
def test_random_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    reader = Base64Reader()
    try:
        found = b"".join(reader.feed(piece, False) for piece in pieces) + reader.feed(b"", True)
    except Base64Error:
        return
    text = b"".join(pieces)
    assert found == b"".join(base64.b64decode(text[at : at + 4]) for at in range(0, len(text), 4))


@pytest.mark.parametrize(
    ("text", "says"), [(b"AAA", "in the middle"), (b"AA-A", "not base64"), (b"====", "not base64"), (b"A===", "base64")]
)
def test_what_is_wrong_is_told(text: bytes, says: str) -> None:
    with pytest.raises(Base64Error, match=says):
        Base64Reader().feed(text, True)
