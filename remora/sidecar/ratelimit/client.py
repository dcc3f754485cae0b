"""The client of a rate limit service that speaks Envoy's protocol, on grpclib.

Source: envoy/service/ratelimit/v3/rls.proto. It is asked one thing: whether a request that these descriptors tell of is
over any of its limits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from grpclib.client import UnaryUnaryMethod
from grpclib.exceptions import GRPCError

from remora.proto.channel import CALL_ERRORS, OpenChannel
from remora.proto.isolated import isolated
from remora.proto.ratelimit.rls_pb2 import HeaderValue, RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from remora.sidecar.wire.heads import HOP_BY_HOP, LIFTED, Fields

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CONNECT_TIMEOUT_S = 5.0

Descriptor = tuple[tuple[str, str], ...]
"""(key, value), from the widest to the narrowest."""

_UNITS_S = {
    RateLimitResponse.RateLimit.SECOND: 1,
    RateLimitResponse.RateLimit.MINUTE: 60,
    RateLimitResponse.RateLimit.HOUR: 3600,
    RateLimitResponse.RateLimit.DAY: 86_400,
    RateLimitResponse.RateLimit.WEEK: 604_800,
    RateLimitResponse.RateLimit.MONTH: 2_592_000,
    RateLimitResponse.RateLimit.YEAR: 31_536_000,
}


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that a request is over; 0: the service does not say."""

    name: str
    requests: int
    window_s: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service says of a request."""

    is_over: bool
    exceeded: tuple[Exceeded, ...]
    response_fields: Fields
    """For the answer to the request, whoever makes it."""
    request_fields: Fields
    """For a request that goes on."""


class RateLimitServiceError(Exception):
    """The service has said nothing that can be used; the text says why."""


class RateLimitServiceClient:
    """One connection, made when there is something to ask, and again after it is lost."""

    def __init__(self, host: str, port: int, domain: str, timeout_s: float) -> None:
        """`timeout_s`: of one question, the wait for a connection included."""
        self._channel = OpenChannel(host, port)
        self._method = UnaryUnaryMethod[RateLimitRequest, RateLimitResponse](
            self._channel, METHOD, RateLimitRequest, RateLimitResponse
        )
        self._domain = domain
        self._timeout_s = timeout_s
        self._connecting: asyncio.Task[None] | None = None

    async def ask(self, descriptors: list[Descriptor]) -> Answer:
        """Raises RateLimitServiceError."""
        request = RateLimitRequest(domain=self._domain, hits_addend=1)
        for descriptor in descriptors:
            entries = [RateLimitDescriptor.Entry(key=key, value=value) for key, value in descriptor]
            request.descriptors.append(RateLimitDescriptor(entries=entries))
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connected()
                response = await isolated(self._method(request))
        except TimeoutError:
            raise RateLimitServiceError(f"no answer within {self._timeout_s * 1000:g} ms") from None
        except CALL_ERRORS as error:
            raise RateLimitServiceError(_words(error)) from error
        if response.overall_code == RateLimitResponse.UNKNOWN:
            raise RateLimitServiceError("its answer is neither OK nor OVER_LIMIT")
        return _answer(response)

    def close(self) -> None:
        """Calls that wait for an answer fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._channel.close()

    async def _connected(self) -> None:
        """Wait for the connection. It is made apart from the one who waits: it may take longer than he can wait."""
        connecting = self._connecting
        if connecting is None or (connecting.done() and not self._channel._connected):
            connecting = self._connecting = asyncio.get_running_loop().create_task(self._connect())
            connecting.add_done_callback(_look)
        if not connecting.done():
            await asyncio.wait((connecting,))
        if not connecting.cancelled():
            connecting.result()

    async def _connect(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._channel.__connect__()


def _look(connecting: asyncio.Task[None]) -> None:
    """Those who wait may be gone by now; asyncio would complain that nobody looked."""
    if not connecting.cancelled():
        connecting.exception()


def _answer(response: RateLimitResponse) -> Answer:
    is_over = response.overall_code == RateLimitResponse.OVER_LIMIT
    exceeded = tuple(
        Exceeded(
            status.current_limit.name,
            status.current_limit.requests_per_unit,
            _UNITS_S.get(status.current_limit.unit, 0),
            status.duration_until_reset.seconds + status.duration_until_reset.nanos / 1e9,
        )
        for status in response.statuses
        if status.code == RateLimitResponse.OVER_LIMIT
    )
    return Answer(
        is_over, exceeded, _fields(response.response_headers_to_add), _fields(response.request_headers_to_add)
    )


def _fields(headers: Iterable[HeaderValue]) -> Fields:
    """As they may stand in a head: what would end a line, begin a pseudo field, or say how the message is framed or
    where it goes, is left out."""
    found = ((header.key.lower().encode(), header.raw_value or header.value.encode()) for header in headers)
    return [(name, value) for name, value in found if _is_name(name) and _is_value(value) and name not in _OURS]


_OURS = HOP_BY_HOP | LIFTED | {b"host", b"te", b"trailer"}
_is_name = re.compile(rb"[a-z0-9!#$%&'*+\-.^_`|~]+").fullmatch
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch


def _words(error: Exception) -> str:
    if isinstance(error, GRPCError):
        return f"{error.message or 'no reason given'} ({error.status.name})"
    return str(error).rstrip(".") or type(error).__name__
