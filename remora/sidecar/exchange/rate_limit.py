"""The gate of a service's rate limits: a request takes a token of each that counts it, or goes no further.

Tokens are taken of all limits or, when one has none, of none: who is refused by one does not use up the others. The
answer tells of the limit that lasts longest (RateLimit and RateLimit-Policy, draft-ietf-httpapi-ratelimit-headers-11).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from remora.model.limits import RateLimit
from remora.model.shares import QuotaKey
from remora.sidecar.exchange.failures import RATE_LIMITED
from remora.sidecar.exchange.gate import Account, Gate, PlainGate, Quota, Stopped, Verdict
from remora.sidecar.policy.limit import Limit
from remora.sidecar.policy.token_bucket import TokenBucket
from remora.sidecar.routing.limit_keys import joined_values
from remora.sidecar.routing.match import Matcher
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.telemetry.shadow import Shadow
from remora.sidecar.wire.heads import RequestHead


class _Counted:
    """A limit in use."""

    __slots__ = ("config", "field", "limit", "matcher", "shadow")

    def __init__(self, config: RateLimit, limit: Limit, metrics: Metrics) -> None:
        self.config = config
        self.limit = limit
        self.matcher = Matcher(config.matches)
        self.field = _policy_field(config)
        self.shadow = Shadow(config.service, "ratelimit", metrics, config.name)

    def account(self, head: RequestHead, now: float) -> Account:
        """For people."""
        config, key = self.config, joined_values(self.config.keys, head) if self.config.keys else b""
        says = [config.name, *told_of(config)]
        if config.scope == "service":
            says.append(f"{self.limit.share:.0%} of it is ours")
        missed = self.matcher.missed(head) or ("" if key is not None else "it lacks what requests are told apart by")
        if missed or key is None:
            return Account("rate limit", tuple(says), config.origin, missed=missed)
        left = self.limit.tokens(key, now) + _ROUNDING_S
        if left >= 1.0:
            return Account("rate limit", tuple(says), config.origin, f"room for {math.floor(left)} more")
        account = Account("rate limit", tuple(says), config.origin, f"used up, for {self.limit.wait_s(left):.3g} s")
        return account if config.shadow else account.stopping(Stopped(RATE_LIMITED, _detail(config)))

    def bucket(self, head: RequestHead, now: float) -> TokenBucket | None:
        """Where this request takes its token; None: it is not counted."""
        if not self.matcher.takes(head):
            return None
        keys = self.config.keys
        key = joined_values(keys, head) if keys else b""
        if key is None:
            return None
        self.limit.wanted += 1
        return self.limit.bucket(key, now)


class RateLimitGate(PlainGate):
    """All limits of a service that are enforced on one side."""

    __slots__ = ("_enforced", "_limits", "_metrics", "_parts", "_shadowed")

    def __init__(self, metrics: Metrics, parts: int) -> None:
        """`parts`: how many processes like this one share what is to be enforced here."""
        self._metrics = metrics
        self._parts = parts
        self._limits: tuple[RateLimit, ...] = ()
        self._enforced: tuple[_Counted, ...] = ()
        self._shadowed: tuple[_Counted, ...] = ()

    def configure(self, limits: tuple[RateLimit, ...], now: float) -> None:
        """Follow the documents; limits that stay keep their tokens."""
        if limits == self._limits:
            return
        self._limits = limits
        before = {_identity(counted.config): counted.limit for counted in (*self._enforced, *self._shadowed)}
        found = [
            _Counted(config, self._limit(config, before.get(_identity(config)), now), self._metrics)
            for config in limits
        ]
        self._enforced = tuple(counted for counted in found if not counted.config.shadow)
        self._shadowed = tuple(counted for counted in found if counted.config.shadow)

    def _limit(self, config: RateLimit, before: Limit | None, now: float) -> Limit:
        max_keys = config.max_keys if config.keys else 0
        if before is None:
            return Limit(config.rate, config.size, max_keys, 1.0 / self._parts)
        before.configure(config.rate, config.size, max_keys, now)
        return before

    def quotas(self) -> tuple[Quota, ...]:
        """What is shared with others: with other processes, or with all that enforce it."""
        return tuple(
            Quota((counted.config.service, counted.config.name), counted.limit)
            for counted in (*self._enforced, *self._shadowed)
            if self._parts > 1 or counted.config.scope == "service"
        )

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:  # noqa: ARG002
        for counted in self._shadowed:
            bucket = counted.bucket(head, now)
            if bucket is not None and not bucket.take(now):
                self._note(counted, now)
        buckets: list[TokenBucket] = []
        longest: _Counted | None = None
        longest_s = 0.0
        for counted in self._enforced:
            bucket = counted.bucket(head, now)
            if bucket is None:
                continue
            buckets.append(bucket)
            wait_s = bucket.wait_s(now)
            if wait_s > longest_s:
                longest, longest_s = counted, wait_s
        if longest is not None and longest_s > _ROUNDING_S:
            return self._stopped(longest, longest_s)
        for bucket in buckets:
            bucket.take(now)
        return None

    def explain(self, head: RequestHead) -> Sequence[Account]:
        now = time.monotonic()
        return [counted.account(head, now) for counted in (*self._enforced, *self._shadowed)]

    def _stopped(self, counted: _Counted, wait_s: float) -> Stopped:
        config = counted.config
        self._metrics.count_ratelimited(config.service, config.name, "enforce")
        return Stopped(RATE_LIMITED, _detail(config), [used_up_field(config.name, wait_s), counted.field], wait_s)

    def _note(self, counted: _Counted, now: float) -> None:
        config = counted.config
        self._metrics.count_ratelimited(config.service, config.name, "shadow")
        counted.shadow.note(now, _detail(config))


_ROUNDING_S = 1e-9
"""As the buckets have it."""


def _detail(config: RateLimit) -> str:
    return RATE_LIMITED.sentence.format(
        service=config.service, requests=config.requests, per_s=config.per_s, limit=config.name
    )


def make_rate_limit_gate(
    limits: tuple[RateLimit, ...], before: Gate | None, metrics: Metrics, parts: int
) -> RateLimitGate:
    """The gate for these limits: the one before, configured anew, if there was one."""
    gate = before if isinstance(before, RateLimitGate) else RateLimitGate(metrics, parts)
    gate.configure(limits, time.monotonic())
    return gate


def told_of(config: RateLimit) -> list[str]:
    """What the document says, for people."""
    says = [f"at most {config.requests} in {config.per_s:g} s, {config.size} at once"]
    if config.matches:
        says.append(f"where {Matcher(config.matches).told()}")
    if config.keys:
        says.append("apart by " + ", ".join(key.name or key.kind for key in config.keys))
    if config.scope == "service":
        says.append("one quota for all that enforce it")
    if config.shadow:
        says.append("in shadow mode: only counted")
    return says


def used_up_field(name: str, wait_s: float) -> tuple[bytes, bytes]:
    """That there is nothing left for so long, in whole seconds."""
    return b"ratelimit", b'"%b";r=0;t=%d' % (name.encode(), max(1, math.ceil(wait_s)))


def policy_field(name: str, quota: int, window_s: int) -> tuple[bytes, bytes]:
    """So many requests in so many seconds."""
    return b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name.encode(), quota, window_s)


def _policy_field(config: RateLimit) -> tuple[bytes, bytes]:
    """The limit as it was written; the draft's windows are whole seconds."""
    window_s = math.ceil(config.per_s)
    return policy_field(config.name, round(config.requests * window_s / config.per_s), window_s)


def _identity(config: RateLimit) -> tuple[QuotaKey, bool, bool, str]:
    """With what tokens are kept: a limit that begins to count by keys begins anew, and so does one that is enforced, or
    shared."""
    return (config.service, config.name), bool(config.keys), config.shadow, config.scope
