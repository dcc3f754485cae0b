"""How a sidecar tells the one that asked it that a request went no further: its app has not seen it.

The answer repeats the span that the request came in (W3C Trace Context §3.2.2.4). Each hop makes one of its own, so an
app that passes on what another one was told does not say so by mistake. See docs/decisions/0016.
"""

from __future__ import annotations

from remora.sidecar.exchange.failures import CONCURRENCY_LIMIT, CONNECT_FAILURE
from remora.sidecar.policy.retry import AttemptFailure
from remora.sidecar.wire.heads import Fields, field_value
from remora.sidecar.wire.problem import ERROR_FIELD

UNPROCESSED_FIELD = b"x-mesh-unprocessed"

_BUSY = CONCURRENCY_LIMIT.code.encode()
_GONE = CONNECT_FAILURE.code.encode()


def telling(came_in: bytes | None) -> Fields:
    """The fields that tell it to who sent a request with the traceparent `came_in`."""
    span = b"" if came_in is None else _span(came_in)
    return [(UNPROCESSED_FIELD, span)] if span else []


def told_by(answer: Fields, went_in: bytes | None) -> AttemptFailure | None:
    """How an attempt has failed whose `answer` tells it, to a request that was sent with the traceparent `went_in`."""
    told = field_value(answer, UNPROCESSED_FIELD)
    if told is None or went_in is None or told != _span(went_in):
        return None
    return AttemptFailure.CONNECT if field_value(answer, ERROR_FIELD) == _GONE else AttemptFailure.REFUSED


def _span(traceparent: bytes) -> bytes:
    return traceparent[36:52]


def is_busy(answer: Fields) -> bool:
    """Whether an answer that tells it says no more than that there are enough requests there at the moment."""
    return field_value(answer, ERROR_FIELD) == _BUSY
