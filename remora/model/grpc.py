"""gRPC's status codes by name (grpc/doc/statuscodes.md)."""

from __future__ import annotations

from typing import Literal, get_args

GrpcFailureName = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""All but OK, in the order of their numbers, from 1."""

GRPC_STATUS_NAMES: tuple[str, ...] = ("OK", *get_args(GrpcFailureName))
"""By number."""
