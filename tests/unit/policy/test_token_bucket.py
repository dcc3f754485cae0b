"""Over any window a bucket lets no more through than burst and rate allow, and no less when enough is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.token_bucket import TokenBucket

rates = st.floats(0.1, 1000)
bursts = st.integers(1, 100)
gaps = st.lists(st.floats(0, 2), min_size=1, max_size=200)


@given(rates, bursts, gaps)
def test_it_is_never_over_its_rate_over_any_window(rate: float, burst: int, steps: list[float]) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 0.0, []
    for step in steps:
        now += step
        if bucket.take(now):
            taken.append(now)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            window = taken[last] - begin
            assert last - first + 1 <= burst + rate * window + 1e-3


@given(rates, bursts, gaps)
def test_it_never_refuses_while_there_is_a_token(rate: float, burst: int, steps: list[float]) -> None:
    bucket, now = TokenBucket(rate, burst), 0.0
    for step in steps:
        now += step
        tokens, wait = bucket.tokens(now), bucket.wait_s(now)
        if bucket.take(now):
            assert tokens > 0.999
        else:
            assert tokens < 1.001
            assert wait > 0


@given(rates, bursts)
def test_after_the_wait_there_is_one(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    while bucket.take(0.0):
        pass
    wait = bucket.wait_s(0.0)
    assert bucket.take(wait + 1e-6)


def test_the_burst_is_there_at_once_and_comes_back() -> None:
    bucket = TokenBucket(10, 5)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    assert bucket.is_full(0.61)
    assert not bucket.is_full(0.5)


@given(rates, bursts, rates, bursts, st.integers(0, 100))
def test_another_rate_keeps_the_tokens_that_have_room(
    rate: float, burst: int, other: float, room: int, taken: int
) -> None:
    bucket = TokenBucket(rate, burst)
    for _ in range(taken):
        bucket.take(1.0)
    tokens = bucket.tokens(1.0)
    bucket.configure(other, room, 1.0)
    assert abs(bucket.tokens(1.0) - min(room, tokens)) < 1e-6 * max(1.0, room, tokens)
