"""The gRPC side: one handler for each direction of streaming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from examples.common.settings import Settings
from examples.quotes.quotes_grpc import QuotesBase
from examples.quotes.quotes_pb2 import Order, Question, Quote, Receipt, WatchRequest
from examples.quotes.service import QuoteService, UnknownProductError


class QuoteHandlers(QuotesBase):
    """Answers quotes.v1.Quotes; an unknown product is NOT_FOUND everywhere."""

    def __init__(self, service: QuoteService, settings: Settings) -> None:
        self._service = service
        self._instance = settings.instance

    async def Watch(self, stream: Stream[WatchRequest, Quote]) -> None:  # noqa: N802 the name in the proto
        """Sends as many quotes as asked for, at the pace asked for."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "a request message is needed")
        with _known_products():
            quotes = self._service.quotes(request.product, request.count)
        for sequence, cents in enumerate(quotes, start=1):
            if sequence > 1:
                await asyncio.sleep(request.interval_ms / 1000)
            await stream.send_message(self._quote(request.product, cents, sequence))

    async def PlaceOrders(self, stream: Stream[Order, Receipt]) -> None:  # noqa: N802 the name in the proto
        """Adds orders up until the caller is done."""
        orders = [(order.product, order.quantity) async for order in stream]
        with _known_products():
            cents = self._service.total(orders)
        await stream.send_message(Receipt(orders=len(orders), cents=cents, instance=self._instance))

    async def Haggle(self, stream: Stream[Question, Quote]) -> None:  # noqa: N802 the name in the proto
        """Answers each question before the next one is read."""
        sequence = 0
        async for question in stream:
            sequence += 1
            with _known_products():
                cents = self._service.quote(question.product, question.quantity)
            await stream.send_message(self._quote(question.product, cents, sequence))

    def _quote(self, product: str, cents: int, sequence: int) -> Quote:
        return Quote(product=product, cents=cents, sequence=sequence, instance=self._instance)


@contextmanager
def _known_products() -> Iterator[None]:
    try:
        yield
    except UnknownProductError as error:
        raise GRPCError(Status.NOT_FOUND, f"nobody sells {error.args[0]!r}") from None
