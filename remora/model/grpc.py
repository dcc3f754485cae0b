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

HTTP_OF_GRPC = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""By gRPC code (grpc-gateway, runtime/errors.go, HTTPStatusFromCode)."""

GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""gRPC's doc/http-grpc-status-mapping.md; any other is UNKNOWN."""
