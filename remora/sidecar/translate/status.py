"""gRPC statuses in answers, and how they and HTTP's stand for each other."""

from __future__ import annotations

import dataclasses
from urllib.parse import unquote_to_bytes

from remora.model.grpc import GRPC_OF_HTTP, HTTP_OF_GRPC
from remora.sidecar.wire.grpc import status_fields
from remora.sidecar.wire.heads import Fields, field_value

UNKNOWN = 2
INVALID_ARGUMENT = 3
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

STATUS_FIELDS = frozenset((b"grpc-status", b"grpc-message", b"grpc-status-details-bin"))


@dataclasses.dataclass(frozen=True, slots=True)
class GrpcStatus:
    """How a call ended."""

    code: int
    message: str = ""
    details: bytes = b""
    """`grpc-status-details-bin` as it came: base64 of a google.rpc.Status."""

    @property
    def http_status(self) -> int:
        return HTTP_OF_GRPC[self.code] if self.code < len(HTTP_OF_GRPC) else 500

    def fields(self) -> Fields:
        """As fields of Trailers-Only or trailers."""
        return status_fields(self.code, self.message)


NO_STATUS = GrpcStatus(UNKNOWN, "the app ended its answer without a gRPC status")


def read_status(fields: Fields) -> GrpcStatus:
    """The status in trailers, or in a Trailers-Only head."""
    code = field_value(fields, b"grpc-status")
    if code is None or not code.isdigit() or len(code) > 9:
        return NO_STATUS
    message = unquote_to_bytes(field_value(fields, b"grpc-message") or b"").decode("utf-8", "replace")
    return GrpcStatus(int(code), message, field_value(fields, b"grpc-status-details-bin") or b"")


def status_of_http(http_status: int, content_type: bytes | None) -> GrpcStatus:
    """What an answer means that is no gRPC."""
    kind = (content_type or b"nothing").decode("latin-1")
    return GrpcStatus(
        GRPC_OF_HTTP.get(http_status, UNKNOWN),
        f"the app answered {http_status} with {kind}, not gRPC: does it speak gRPC on this port?",
    )


def is_grpc_answer(status: int, content_type: bytes | None) -> bool:
    """Whether an answer's head is one of gRPC."""
    return status == 200 and content_type is not None and content_type.startswith(b"application/grpc")
