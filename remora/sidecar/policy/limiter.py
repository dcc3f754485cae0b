"""Rate limits by key, in bounded memory. Pure: the time is an argument, of any steady clock.

Each key has a bucket. A full bucket can be forgotten without a difference, so those used longest ago go when they are
full; when there is none to forget, keys that are new share one bucket: no flood of keys buys anyone more than the
limit, and those who are known keep what is theirs.
"""

from __future__ import annotations

from collections import OrderedDict

from remora.sidecar.policy.token_bucket import TokenBucket

_LOOKED_AT = 8
"""Of the buckets used longest ago, when there is no room."""


class KeyedBuckets:
    """The buckets of one limit."""

    __slots__ = ("_buckets", "_burst", "_overflow", "_rate", "max_keys")

    def __init__(self, rate: float, burst: float, max_keys: int) -> None:
        self._rate = rate
        self._burst = burst
        self.max_keys = max_keys
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._overflow = TokenBucket(rate, burst)

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, key: bytes, now: float) -> TokenBucket:
        """The bucket of `key`."""
        buckets = self._buckets
        bucket = buckets.get(key)
        if bucket is not None:
            buckets.move_to_end(key)
            bucket.rate, bucket.burst = self._rate, self._burst
            return bucket
        if len(buckets) >= self.max_keys and not self._forget(now):
            return self._overflow
        bucket = buckets[key] = TokenBucket(self._rate, self._burst)
        return bucket

    def tokens(self, key: bytes, now: float) -> float:
        """How many there are for `key`. Changes nothing."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            return min(self._burst, bucket.tokens(now))
        return self._burst if len(self._buckets) < self.max_keys else self._overflow.tokens(now)

    def scale(self, rate: float, burst: float) -> None:
        """Go on at another rate and burst, both changed in the same way: buckets stay as full as they are, in parts of
        what they hold. However many there are, this costs nothing."""
        self._rate, self._burst = rate, burst
        self._overflow.rate, self._overflow.burst = rate, burst

    def configure(self, rate: float, burst: float, now: float) -> None:
        """Go on at another rate with the tokens that there are."""
        self._rate, self._burst = rate, burst
        self._overflow.configure(rate, burst, now)
        for bucket in self._buckets.values():
            bucket.configure(rate, burst, now)

    def _forget(self, now: float) -> bool:
        """Make room; whether there is some now."""
        oldest = [key for key, _ in zip(self._buckets, range(_LOOKED_AT), strict=False)]
        for key in oldest:
            if self._buckets[key].is_full(now):
                del self._buckets[key]
        return len(self._buckets) < self.max_keys
