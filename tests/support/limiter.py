"""A rate limit service of grpcio that says what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from remora.proto.ratelimit.rls_pb2 import RateLimitRequest, RateLimitResponse
from tests.support.grpc_app import running_grpc

OK = RateLimitResponse(overall_code=RateLimitResponse.OK)


class Limiter(grpc.GenericRpcHandler):
    """`envoy.service.ratelimit.v3.RateLimitService`: refuses what `over` names, by any entry's value."""

    def __init__(self) -> None:
        self.asked: list[RateLimitRequest] = []
        self.over: dict[str, RateLimitResponse] = {}
        self.silent = False
        self.speaks = asyncio.Event()
        """Ends the silence."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.judge,
            request_deserializer=RateLimitRequest.FromString,
            response_serializer=RateLimitResponse.SerializeToString,
        )

    async def judge(self, request: RateLimitRequest, context: grpc.aio.ServicerContext) -> RateLimitResponse:
        self.asked.append(request)
        if self.silent:
            await self.speaks.wait()
        for descriptor in request.descriptors:
            for entry in descriptor.entries:
                if entry.value in self.over:
                    return self.over[entry.value]
        return OK


@asynccontextmanager
async def running_limiter() -> AsyncIterator[tuple[Limiter, str]]:
    """The service and its address."""
    limiter = Limiter()
    async with running_grpc(limiter) as address:
        yield limiter, address
