"""Whether a failed attempt may be tried again, and when. Pure.

The rule that everything else bows to: a request that may have been processed is executed again only if that is safe,
by its method (RFC 9110 §9.2.2) or because the service's owner says so.
"""

from __future__ import annotations

import enum

from remora.model.policies import RetryPolicy
from remora.sidecar.wire.heads import Fields, field_value

IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

NO_RETRY = -1.0
"""The server's word: do not try again."""


class AttemptFailure(enum.Enum):
    """How an attempt ended without an answer worth forwarding."""

    CONNECT = "connect failure"
    """No connection was made: nothing was sent."""
    REFUSED = "refused stream"
    """The upstream said that it did not process the request."""
    RESET = "reset before a response"
    TIMEOUT = "no answer in time"
    """The time of one try was over."""
    STATUS = "retriable status"
    """An HTTP or gRPC status that the policy lists."""


UNPROCESSED = frozenset((AttemptFailure.CONNECT, AttemptFailure.REFUSED))
"""After these the request has provably not been processed."""


def is_safe(policy: RetryPolicy, method: bytes, path: bytes, fields: Fields) -> bool:
    """Whether executing the request twice does no harm: by its method, by the word of the service's owner, or of the
    client (draft-ietf-httpapi-idempotency-key-header)."""
    if method in IDEMPOTENT_METHODS:
        return True
    declared = policy.safe_methods
    if declared and (method.decode("latin-1") in declared or path.decode("latin-1") in declared):
        return True
    header = policy.idempotency_header
    return bool(header) and field_value(fields, header.encode()) is not None


def may_retry(policy: RetryPolicy, failure: AttemptFailure, retries_made: int, safe: bool) -> bool:
    """Whether the policy allows one more attempt after `retries_made` retries."""
    return retries_made < policy.attempts and (safe or failure in UNPROCESSED) and is_condition(policy, failure)


def is_condition(policy: RetryPolicy, failure: AttemptFailure) -> bool:
    """Whether the policy lists such failures; of statuses only their codes are listed."""
    if failure is AttemptFailure.CONNECT:
        return policy.on_connect
    if failure is AttemptFailure.REFUSED:
        return policy.on_refused
    return failure is AttemptFailure.STATUS or policy.on_reset


def backoff_s(policy: RetryPolicy, retries_made: int, random: float) -> float:
    """Seconds to wait before the next retry: full jitter from the least wait to base · 2ⁿ, capped. `random` is in
    [0, 1)."""
    ceiling: float = min(policy.backoff_cap_s, policy.backoff_base_s * 2**retries_made)
    least = policy.backoff_least_s
    return least + random * (ceiling - least)


def wait_asked_for(fields: Fields, now: float) -> float | None:
    """Seconds that the server asks to wait before another try; NO_RETRY: there is to be none; None: it says nothing.

    `grpc-retry-pushback-ms` (gRFC A6: negative, or no number, means no retry), else Retry-After (RFC 9110 §10.2.3).
    `now` is Unix time.
    """
    pushback = field_value(fields, b"grpc-retry-pushback-ms")
    if pushback is not None:
        return int(pushback) / 1000 if pushback.isdigit() and len(pushback) < _DIGITS else NO_RETRY
    after = field_value(fields, b"retry-after")
    if after is None:
        return None
    if after.isdigit():
        return float(after) if len(after) < _DIGITS else NO_RETRY
    import email.utils  # what weighs is loaded when somebody answers with a date

    try:
        return max(0.0, email.utils.parsedate_to_datetime(after.decode("latin-1")).timestamp() - now)
    except (ValueError, OverflowError):
        return None


_DIGITS = 10
