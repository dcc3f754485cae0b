"""What may be tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import RetryPolicy
from remora.sidecar.policy.retry import (
    NO_RETRY,
    UNPROCESSED,
    AttemptFailure,
    backoff_s,
    is_safe,
    may_retry,
    wait_asked_for,
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
    assert is_safe(RetryPolicy(safe_methods=declared), method, path, []) is safe


@given(st.sampled_from(AttemptFailure), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_what_may_have_been_processed_is_only_retried_if_safe(
    failure: AttemptFailure, attempts: int, made: int, safe: bool
) -> None:
    allowed = may_retry(RetryPolicy(attempts=attempts), failure, made, safe)
    assert not (allowed and made >= attempts)
    assert not (allowed and not safe and failure not in UNPROCESSED)
    assert allowed or made >= attempts or not (safe or failure in UNPROCESSED)


def test_a_client_may_say_that_a_request_is_idempotent() -> None:
    key = [(b"Idempotency-Key", b"1")]
    assert is_safe(RetryPolicy(), b"POST", b"/", key)
    assert not is_safe(RetryPolicy(idempotency_header=""), b"POST", b"/", key)
    assert is_safe(RetryPolicy(idempotency_header="x-once"), b"POST", b"/", [(b"X-Once", b"1")])


@pytest.mark.parametrize(
    ("policy", "failure"),
    [
        (RetryPolicy(on_connect=False), AttemptFailure.CONNECT),
        (RetryPolicy(on_refused=False), AttemptFailure.REFUSED),
        (RetryPolicy(on_reset=False), AttemptFailure.RESET),
        (RetryPolicy(on_reset=False), AttemptFailure.TIMEOUT),
    ],
)
def test_conditions_can_be_switched_off(policy: RetryPolicy, failure: AttemptFailure) -> None:
    assert not may_retry(policy, failure, 0, True)
    assert may_retry(RetryPolicy(), failure, 0, True)


@given(st.integers(0, 40), st.floats(0, 1, exclude_max=True), st.floats(0.001, 1), st.floats(0.001, 10))
def test_backoff_is_full_jitter_under_a_cap(made: int, random: float, base: float, cap: float) -> None:
    policy = RetryPolicy(backoff_base_s=base, backoff_cap_s=cap)
    assert 0 <= backoff_s(policy, made, random) <= min(cap, base * 2**made)


@given(st.integers(0, 40), st.floats(0, 1, exclude_max=True), st.floats(0.001, 1))
def test_no_retry_comes_sooner_than_the_least_wait(made: int, random: float, least: float) -> None:
    policy = RetryPolicy(backoff_least_s=least, backoff_base_s=2 * least, backoff_cap_s=10 * least)
    assert least <= backoff_s(policy, made, random) <= 10 * least


@pytest.mark.parametrize(
    ("fields", "wait"),
    [
        ([], None),
        ([(b"Retry-After", b"3")], 3.0),
        ([(b"retry-after", b"Fri, 31 Dec 1999 23:59:59 GMT")], 0.0),
        ([(b"retry-after", b"Thu, 01 Jan 1970 00:16:50 GMT")], 10.0),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"9" * 400)], NO_RETRY),
        ([(b"grpc-retry-pushback-ms", b"250")], 0.25),
        ([(b"grpc-retry-pushback-ms", b"-1")], NO_RETRY),
        ([(b"grpc-retry-pushback-ms", b"later")], NO_RETRY),
        ([(b"grpc-retry-pushback-ms", b"250"), (b"retry-after", b"3")], 0.25),
    ],
)
def test_what_servers_ask_for(fields: list[tuple[bytes, bytes]], wait: float | None) -> None:
    now = 1000.0 if fields and b"1970" in fields[0][1] else 1e10
    assert wait_asked_for(fields, now) == wait


@given(st.binary(max_size=40), st.sampled_from([b"retry-after", b"grpc-retry-pushback-ms"]))
def test_whatever_they_say_it_is_read(value: bytes, name: bytes) -> None:
    wait = wait_asked_for([(name, value)], 0.0)
    assert wait is None or wait == NO_RETRY or wait >= 0.0
