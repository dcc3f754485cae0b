"""gRPC's messages out of pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.translate.message_reader import MAX_MESSAGE_BYTES, MessageError, MessageReader
from remora.sidecar.wire.grpc import frame


@given(st.lists(st.binary(max_size=300)), st.data())
def test_messages_come_whole_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    body = b"".join(map(frame, messages))
    reader, found, at = MessageReader(), [], 0
    while at < len(body):
        after = data.draw(st.integers(at + 1, len(body)))
        found += reader.feed(body[at:after])
        at = after
    assert (found, reader.is_empty) == (messages, True)


@given(st.lists(st.binary()))
def test_random_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    reader = MessageReader()
    try:
        found = [message for piece in pieces for message in reader.feed(piece)]
    except MessageError:
        return
    assert b"".join(pieces).startswith(b"".join(map(frame, found)))


def test_what_is_unfinished_is_not_empty() -> None:
    reader = MessageReader()
    assert reader.feed(frame(b"ab")[:-1]) == []
    assert not reader.is_empty


def test_too_long_is_told_by_the_prefix_alone() -> None:
    prefix = b"\x00" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(MessageError, match="4194305 bytes"):
        MessageReader().feed(prefix)


def test_compressed_is_told() -> None:
    with pytest.raises(MessageError, match="compressed"):
        MessageReader().feed(b"\x01\x00\x00\x00\x00")
