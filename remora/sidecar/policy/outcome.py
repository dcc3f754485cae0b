"""How an attempt went, as far as it says something about the endpoint."""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    OK = "ok"
    FAILED = "failed"
    """5xx, a gRPC status of FAILED_GRPC, no connection, a reset, no answer in time."""
    UNKNOWN = "unknown"
    """Nobody waited for the end, or the endpoint had refused it in an orderly way."""


TURNED_AWAY_GRPC = b"8"
"""RESOURCE_EXHAUSTED, gRPC's 429: no failure, and nothing that should attract."""

FAILED_GRPC = frozenset((b"4", b"13", b"14", b"15"))
"""DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS: what says more of the server than of the call."""
