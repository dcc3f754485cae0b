"""How a sidecar tells the one that asked it that a request went no further: its app has not seen it.

The answer repeats the span that the request came in (W3C Trace Context §3.2.2.4). Each hop makes one of its own, so an
app that passes on what another one was told does not say so by mistake. See docs/decisions/0016.
"""

from __future__ import annotations

from remora.sidecar.exchange.failures import CONCURRENCY_LIMIT
from remora.sidecar.wire.heads import Fields, field_value
from remora.sidecar.wire.problem import ERROR_FIELD

UNPROCESSED_FIELD = b"x-mesh-unprocessed"

_BUSY = CONCURRENCY_LIMIT.code.encode()
_SPAN = slice(36, 52)
"""Of a traceparent."""


def telling(came_in: bytes | None) -> Fields:
    """The fields that tell it to who sent a request with the traceparent `came_in`."""
    span = b"" if came_in is None else came_in[_SPAN]
    return [(UNPROCESSED_FIELD, span)] if span else []


def is_unprocessed(answer: Fields, went_in: bytes | None) -> bool:
    """Whether the `answer` to a request that was sent with the traceparent `went_in` tells it."""
    told = field_value(answer, UNPROCESSED_FIELD)
    return told is not None and went_in is not None and told == went_in[_SPAN]


def is_busy(answer: Fields) -> bool:
    """Whether an answer that tells it says no more than that there are enough requests there at the moment."""
    return field_value(answer, ERROR_FIELD) == _BUSY
