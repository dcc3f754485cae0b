"""grpc-timeout, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.exchange.grpc_timeout import format_grpc_timeout, parse_grpc_timeout


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1S", 1.0), (b"100m", 0.1), (b"2H", 7200.0), (b"5M", 300.0), (b"7u", 7e-6), (b"1n", 1e-9)],
)
def test_units(value: bytes, seconds: float) -> None:
    assert parse_grpc_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1x", b"-1S", b"1.5S", b"123456789S", b" 1S"])
def test_what_is_no_timeout(value: bytes) -> None:
    assert parse_grpc_timeout(value) is None


@given(st.floats(1e-9, 1e8))
def test_written_is_never_longer_and_hardly_shorter(seconds: float) -> None:
    written = format_grpc_timeout(seconds)
    read = parse_grpc_timeout(written)
    assert read is not None
    assert len(written) <= 9
    assert seconds * 0.999 - 1e-9 <= read <= seconds * (1 + 1e-9) + 1e-9
