"""The gRPC side: messages in, messages out."""

from __future__ import annotations

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from examples.common.settings import Settings
from examples.prices.prices_grpc import PricesBase
from examples.prices.prices_pb2 import GetPriceRequest, Price
from examples.prices.service import PriceService, UnknownProductError


class PriceHandlers(PricesBase):
    """Answers prices.v1.Prices."""

    def __init__(self, service: PriceService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    async def GetPrice(self, stream: Stream[GetPriceRequest, Price]) -> None:  # noqa: N802 the name in the proto
        """One price; NOT_FOUND for an unknown product."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "a request message is needed")
        try:
            amount = self._service.price_of(request.product)
        except UnknownProductError:
            raise GRPCError(Status.NOT_FOUND, f"no price for {request.product!r}") from None
        await stream.send_message(
            Price(
                product=request.product,
                cents=amount.cents,
                currency=amount.currency,
                version=self._settings.version,
                instance=self._settings.instance,
            )
        )
