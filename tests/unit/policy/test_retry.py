"""What may be tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import RetryPolicy
from remora.sidecar.policy.retry import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    UNPROCESSED,
    AttemptFailure,
    backoff_s,
    is_safe,
    may_retry,
)


@pytest.mark.parametrize(
    ("method", "path", "declared", "safe"),
    [
        (b"GET", b"/", (), True),
        (b"PUT", b"/", (), True),
        (b"POST", b"/", (), False),
        (b"PATCH", b"/", (), False),
        (b"POST", b"/", ("POST",), True),
        (b"POST", b"/a.B/Get", ("/a.B/Get",), True),
        (b"POST", b"/a.B/Set", ("/a.B/Get",), False),
    ],
)
def test_safe_methods(method: bytes, path: bytes, declared: tuple[str, ...], safe: bool) -> None:
    assert is_safe(RetryPolicy(safe_methods=declared), method, path) is safe


@given(st.sampled_from(AttemptFailure), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_what_may_have_been_processed_is_only_retried_if_safe(
    failure: AttemptFailure, attempts: int, made: int, safe: bool
) -> None:
    allowed = may_retry(RetryPolicy(attempts=attempts), failure, made, safe)
    assert not (allowed and made >= attempts)
    assert not (allowed and not safe and failure not in UNPROCESSED)
    assert allowed or made >= attempts or not (safe or failure in UNPROCESSED)


@given(st.integers(0, 40), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_under_a_cap(made: int, random: float) -> None:
    assert 0 <= backoff_s(made, random) <= min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**made)
