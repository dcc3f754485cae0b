"""One rate limit, or the part of it that is leased here. Pure: the time is an argument, of any steady clock.

With a share of less than 1 the rest is somebody else's: rate and burst are that part of the limit's, and what was
wanted is counted, so that the parts can follow it (`remora/model/shares.py`).
"""

from __future__ import annotations

from remora.sidecar.policy.limiter import KeyedBuckets
from remora.sidecar.policy.token_bucket import TokenBucket


class Limit:
    """The buckets of a limit: one, or one for each key."""

    __slots__ = ("_burst", "_keyed", "_one", "_rate", "share", "wanted")

    def __init__(self, rate: float, burst: float, max_keys: int, share: float = 1.0) -> None:
        """`rate`: requests per second; `max_keys`: how many keys have a bucket of their own; 0: there are no keys."""
        self._rate = rate
        self._burst = burst
        self.share = share
        self.wanted = 0
        """Requests since `take_wanted`."""
        self._one = TokenBucket(rate * share, self._part())
        self._keyed = KeyedBuckets(rate * share, self._part(), max_keys) if max_keys else None

    def bucket(self, key: bytes, now: float) -> TokenBucket:
        """Where a request takes its token; `key` is for limits that have keys."""
        return self._one if self._keyed is None else self._keyed.bucket(key, now)

    def tokens(self, key: bytes, now: float) -> float:
        """How many there are for such a request. Changes nothing."""
        return self._one.tokens(now) if self._keyed is None else self._keyed.tokens(key, now)

    def wait_s(self, tokens: float) -> float:
        """How long it takes until of so many tokens there is a whole one."""
        return max(0.0, 1.0 - tokens) / (self._rate * self.share)

    def configure(self, rate: float, burst: float, max_keys: int, now: float) -> None:
        """Go on under other numbers with the tokens that there are. Keys stay keys."""
        if self._keyed is not None:
            self._keyed.max_keys = max_keys
        if rate == self._rate and burst == self._burst:
            return
        self._rate, self._burst = rate, burst
        self._one.configure(rate * self.share, self._part(), now)
        if self._keyed is not None:
            self._keyed.configure(rate * self.share, self._part(), now)

    def lease(self, share: float, now: float) -> None:
        """Go on with another part of the limit, above 0."""
        self.share = share
        # No token comes of nothing when parts move to and fro.
        self._one.configure(self._rate * share, self._part(), now)
        if self._keyed is not None:
            self._keyed.scale(self._rate * share, self._part())

    def take_wanted(self) -> int:
        """How many requests came since it was last asked, be they let through or not."""
        wanted, self.wanted = self.wanted, 0
        return wanted

    def _part(self) -> float:
        # Less than a whole token could never be taken.
        return max(1.0, self._burst * self.share)
