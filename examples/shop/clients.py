"""How the shop calls the services behind it: plain URLs, no retries, no discovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, StreamTerminatedError

from examples.prices.prices_grpc import PricesStub
from examples.prices.prices_pb2 import GetPriceRequest

CALL_TIMEOUT_S = 20.0


class CallFailedError(Exception):
    """A service behind the shop did not give the answer that was needed; the message says which and what it said."""


class ReviewsClient:
    """Calls reviews over HTTP, through HTTP_PROXY if the environment has one."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def reviews_of(self, product: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """What reviews says about `product`; raises CallFailedError."""
        url = f"{self._url}/reviews/{product}"
        try:
            async with self._session.get(url, headers=headers) as response:
                if response.status != 200:
                    code = response.headers.get("x-mesh-error", "none")
                    raise CallFailedError(f"reviews answered {response.status} ({code}): {await response.text()}")
                return dict(await response.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CallFailedError(f"reviews at {url}: {type(error).__name__}: {error}") from error


class PricesClient:
    """Calls prices over gRPC."""

    def __init__(self, channel: Channel) -> None:
        self._stub = PricesStub(channel)

    async def price_of(self, product: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """What `product` costs; raises CallFailedError."""
        try:
            price = await self._stub.GetPrice(
                GetPriceRequest(product=product), timeout=CALL_TIMEOUT_S, metadata=dict(headers)
            )
        except GRPCError as error:
            raise CallFailedError(f"prices answered {error.status.name}: {error.message}") from error
        except (StreamTerminatedError, OSError, TimeoutError) as error:
            raise CallFailedError(f"prices: {type(error).__name__}: {error}") from error
        return {
            "cents": price.cents,
            "currency": price.currency,
            "version": price.version,
            "instance": price.instance,
        }
