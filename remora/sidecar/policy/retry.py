"""Whether a failed attempt may be tried again, and when. Pure.

The rule that everything else bows to: a request that may have been processed is executed again only if that is safe,
by its method (RFC 9110 §9.2.2) or because the service's owner says so.
"""

from __future__ import annotations

import enum

from remora.model.policies import RetryPolicy

BACKOFF_BASE_S = 0.025
BACKOFF_CAP_S = 0.25

IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class AttemptFailure(enum.Enum):
    """How an attempt ended without an answer worth forwarding."""

    CONNECT = "connect failure"
    """No connection was made: nothing was sent."""
    REFUSED = "refused stream"
    """The upstream said that it did not process the request."""
    RESET = "reset before a response"
    STATUS = "retriable status"
    """An HTTP or gRPC status that the policy lists."""


UNPROCESSED = frozenset((AttemptFailure.CONNECT, AttemptFailure.REFUSED))
"""After these the request has provably not been processed."""


def is_safe(policy: RetryPolicy, method: bytes, path: bytes) -> bool:
    """Whether executing the request twice does no harm."""
    if method in IDEMPOTENT_METHODS:
        return True
    declared = policy.safe_methods
    return bool(declared) and (method.decode("latin-1") in declared or path.decode("latin-1") in declared)


def may_retry(policy: RetryPolicy, failure: AttemptFailure, retries_made: int, safe: bool) -> bool:
    """Whether the policy allows one more attempt after `retries_made` retries."""
    return retries_made < policy.attempts and (safe or failure in UNPROCESSED)


def backoff_s(retries_made: int, random: float) -> float:
    """Seconds to wait before the next retry: full jitter over 25 ms · 2ⁿ, capped. `random` is in [0, 1)."""
    ceiling: float = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**retries_made)
    return random * ceiling
