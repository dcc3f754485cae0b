"""A limit and its parts: whatever is leased to whom, all together never let more through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.policy.limit import Limit

RATE, BURST = 10.0, 20.0

steps = st.lists(
    st.tuples(st.floats(0, 0.5), st.integers(0, 2), st.integers(0, 30), st.integers(1, 98), st.integers(1, 98)),
    max_size=80,
)


@given(steps)
def test_together_they_are_never_over_the_limit_however_parts_move(
    found: list[tuple[float, int, int, int, int]],
) -> None:
    limits = [Limit(RATE, BURST, 0, 1 / 3) for _ in range(3)]
    now, passed = 0.0, 0
    for gap, who, requests, first, second in found:
        now += gap
        total = first + second + 50
        for limit, part in zip(limits, (first, second, 50), strict=True):
            limit.lease(part / total, now)
        passed += sum(limits[who].bucket(b"", now).take(now) for _ in range(requests))
        # A part of less than one token is one: that much more at each.
        assert passed <= BURST + len(limits) + RATE * now * (1 + 1e-9) + 1e-6


def test_a_part_is_of_rate_and_burst() -> None:
    limit = Limit(RATE, BURST, 0, 0.5)
    assert sum(limit.bucket(b"", 0.0).take(0.0) for _ in range(50)) == 10
    assert sum(limit.bucket(b"", 1.0).take(1.0) for _ in range(50)) == 5


def test_keys_keep_what_is_theirs_when_parts_move() -> None:
    limit = Limit(RATE, BURST, 100)
    assert sum(limit.bucket(b"ann", 0.0).take(0.0) for _ in range(10)) == 10
    limit.lease(0.5, 0.0)
    assert sum(limit.bucket(b"ann", 0.0).take(0.0) for _ in range(50)) == 5
    assert sum(limit.bucket(b"bob", 0.0).take(0.0) for _ in range(50)) == 10


def test_fewer_keys_are_kept_from_now_on() -> None:
    limit = Limit(RATE, 1, 100)
    limit.configure(RATE, 1, 1, 0.0)
    assert limit.bucket(b"ann", 0.0).take(0.0)
    assert limit.bucket(b"bob", 0.0).take(0.0), "there is one bucket for all others"
    assert not limit.bucket(b"cid", 0.0).take(0.0)


def test_keys_go_on_at_another_rate() -> None:
    limit = Limit(RATE, BURST, 100)
    while limit.bucket(b"ann", 0.0).take(0.0):
        pass
    limit.configure(2 * RATE, BURST, 100, 0.0)
    assert sum(limit.bucket(b"ann", 1.0).take(1.0) for _ in range(50)) == 2 * RATE
