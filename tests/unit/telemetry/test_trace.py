"""traceparent as W3C Trace Context says."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.telemetry.trace import child_traceparent, new_request_id

VALID = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACE = b"0af7651916cd43dd8448eb211c80319c"


def test_a_child_keeps_trace_and_flags_and_changes_the_span() -> None:
    for flags in (b"00", b"01"):
        child = child_traceparent(b"00-" + TRACE + b"-b7ad6b7169203331-" + flags)
        assert VALID.fullmatch(child)
        assert child.split(b"-")[1::2] == [TRACE, flags]
        assert child.split(b"-")[2] != b"b7ad6b7169203331"


def test_a_later_version_is_continued_as_version_00() -> None:
    child = child_traceparent(b"cc-" + TRACE + b"-b7ad6b7169203331-01-what-the-future-will-be-like")
    assert child.startswith(b"00-" + TRACE)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        b"",
        b"00-" + TRACE.upper() + b"-b7ad6b7169203331-01",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-" + TRACE + b"-0000000000000000-01",
        b"ff-" + TRACE + b"-b7ad6b7169203331-01",
        b"00-" + TRACE + b"-b7ad6b7169203331",
    ],
)
def test_none_or_a_broken_one_starts_a_new_trace(broken: bytes | None) -> None:
    child = child_traceparent(broken)
    assert VALID.fullmatch(child)
    assert TRACE not in child


@given(st.binary(max_size=80))
def test_whatever_comes_a_valid_one_goes_out(parent: bytes) -> None:
    assert VALID.fullmatch(child_traceparent(parent))


def test_sampling_is_by_ratio_where_nobody_has_decided() -> None:
    sampled = sum(child_traceparent(None, 0.25).endswith(b"01") for _ in range(4000))
    assert 850 < sampled < 1150


def test_request_ids_are_random_uuids() -> None:
    ids = {new_request_id().decode() for _ in range(100)}
    assert len(ids) == 100
    assert {uuid.UUID(text).version for text in ids} == {4}
    assert {uuid.UUID(text).variant for text in ids} == {uuid.RFC_4122}
