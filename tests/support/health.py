"""grpcio's health service, on grpclib's messages: both packages bring the same ones, and protobuf takes them once."""

from __future__ import annotations

import sys

from grpclib.health.v1 import health_pb2

for _message in ("HealthListRequest", "HealthListResponse"):
    # Of a method that grpclib's copy does not have yet, and nobody here calls.
    if not hasattr(health_pb2, _message):
        setattr(health_pb2, _message, health_pb2.HealthCheckRequest)
sys.modules["grpc_health.v1.health_pb2"] = health_pb2

from grpc_health.v1 import health, health_pb2_grpc  # noqa: E402

__all__ = ["health", "health_pb2", "health_pb2_grpc"]
