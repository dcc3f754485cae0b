"""Limits by key: each key has its own, memory is bounded, and a flood of keys buys nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.limiter import KeyedBuckets

steps = st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 30)), max_size=300)


@given(steps, st.integers(1, 10), st.integers(1, 5))
def test_no_key_is_over_its_rate_and_memory_is_bounded(
    found: list[tuple[float, int]], max_keys: int, burst: int
) -> None:
    limiter, now, taken = KeyedBuckets(2.0, burst, max_keys), 0.0, Counter[int]()
    for gap, key in found:
        now += gap
        if limiter.bucket(b"%d" % key, now).take(now):
            taken[key] += 1
        assert len(limiter) <= max_keys
    for count in taken.values():
        assert count <= burst + 2.0 * now + 1e-6 + (burst + 2.0 * now) * (len(taken) > max_keys)


def test_keys_do_not_share() -> None:
    limiter = KeyedBuckets(1.0, 2, 100)
    assert [limiter.bucket(b"a", 0.0).take(0.0) for _ in range(3)] == [True, True, False]
    assert [limiter.bucket(b"b", 0.0).take(0.0) for _ in range(3)] == [True, True, False]


def test_a_flood_of_keys_gets_one_bucket_together_and_takes_nothing_from_the_known() -> None:
    limiter = KeyedBuckets(1.0, 2, 10)
    for key in range(10):
        assert limiter.bucket(b"%d" % key, 0.0).take(0.0)
    assert sum(limiter.bucket(b"new-%d" % key, 0.0).take(0.0) for key in range(1000)) == 2
    assert all(limiter.bucket(b"%d" % key, 0.0).take(0.0) for key in range(10))
    assert not any(limiter.bucket(b"%d" % key, 0.0).take(0.0) for key in range(10))


def test_full_buckets_make_room() -> None:
    limiter = KeyedBuckets(1.0, 1, 2)
    limiter.bucket(b"a", 0.0).take(0.0)
    limiter.bucket(b"b", 0.5).take(0.5)
    assert limiter.bucket(b"c", 1.2).take(1.2)
    assert len(limiter) == 2


def test_who_was_used_longest_ago_makes_room() -> None:
    limiter = KeyedBuckets(1.0, 1, 9)
    for key in range(9):
        assert limiter.bucket(b"%d" % key, 0.0).take(0.0)
    for key in range(8):
        assert limiter.bucket(b"%d" % key, 2.0).take(2.0)
    assert limiter.bucket(b"new", 2.0).take(2.0), "it has the place of 8"
    assert limiter.bucket(b"newer", 2.0).take(2.0), "for it there is none, but what new keys share"
    assert not limiter.bucket(b"newest", 2.0).take(2.0)
