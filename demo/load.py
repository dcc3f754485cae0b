"""Clients that know nothing of the mesh: they call local ports, as an app beside a sidecar does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from grpclib.client import Channel, Stream
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from demo.tally import Answer, Kind, Tally
from examples.prices.prices_grpc import PricesStub
from examples.prices.prices_pb2 import GetPriceRequest
from examples.quotes.quotes_grpc import QuotesStub
from examples.quotes.quotes_pb2 import Order, Question, Quote, WatchRequest

if TYPE_CHECKING:
    from grpclib.client import ServiceMethod

CALL_TIMEOUT_S = 20.0
PRODUCTS = ("mask", "fins", "snorkel")

Call = Callable[[int], Awaitable[list[Answer]]]
"""Makes request number n and says who answered; raises RequestFailedError."""


class RequestFailedError(Exception):
    """A request did not get the answer that it should have; the message has all that is known."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The local ports, HOST:PORT, behind which each service seems to be."""

    shop: str
    reviews: str
    prices: str
    quotes: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of one kind of request."""

    kind: Kind
    call: Call
    workers: int
    pause_s: float
    """Between the end of a worker's request and its next one."""


class Load:
    """Keeps a steady stream of requests of all kinds going until it is stopped."""

    def __init__(self, targets: Targets, tally: Tally) -> None:
        self._tally = tally
        self._stopping = asyncio.Event()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S))
        self._channels = [_channel(targets.prices), _channel(targets.quotes)]
        http = HttpCalls(self._session, targets)
        grpc = GrpcCalls(PricesStub(self._channels[0]), QuotesStub(self._channels[1]))
        self._plans = (
            Plan(Kind.PAGE, http.page, workers=4, pause_s=0.04),
            Plan(Kind.REVIEWS, http.reviews, workers=2, pause_s=0.04),
            Plan(Kind.PRICE, grpc.price, workers=3, pause_s=0.04),
            Plan(Kind.WATCH, grpc.watch, workers=2, pause_s=0.05),
            Plan(Kind.ORDERS, grpc.place_orders, workers=2, pause_s=0.05),
            Plan(Kind.HAGGLE, grpc.haggle, workers=2, pause_s=0.05),
        )
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins."""
        self._workers = [
            asyncio.create_task(self._work(plan), name=f"load {plan.kind}")
            for plan in self._plans
            for _ in range(plan.workers)
        ]

    async def stop(self) -> None:
        """Lets the requests under way end, then closes the connections."""
        self._stopping.set()
        if self._workers:
            await asyncio.wait(self._workers, timeout=CALL_TIMEOUT_S)
        for worker in self._workers:
            worker.cancel()
        for outcome in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        for channel in self._channels:
            channel.close()
        await self._session.close()

    async def _work(self, plan: Plan) -> None:
        number = 0
        while not self._stopping.is_set():
            await self._request(plan, number)
            number += 1
            await asyncio.sleep(plan.pause_s)

    async def _request(self, plan: Plan, number: int) -> None:
        started = time.monotonic()
        try:
            answers = await plan.call(number)
        except RequestFailedError as error:
            self._tally.failed(plan.kind, started, str(error))
        else:
            self._tally.succeeded(plan.kind, started, answers)


class HttpCalls:
    """Requests over HTTP/1.1."""

    def __init__(self, session: aiohttp.ClientSession, targets: Targets) -> None:
        self._session = session
        self._targets = targets

    async def page(self, number: int) -> list[Answer]:
        """A page of the shop: behind it the shop calls reviews over HTTP and prices over gRPC."""
        page = await self._get(f"http://{self._targets.shop}/products/{_product(number)}")
        parts = {"shop": page, "reviews": page["reviews"], "prices": page["price"]}
        return [_answer(service, part) for service, part in parts.items()]

    async def reviews(self, number: int) -> list[Answer]:
        """Reviews of a product."""
        return [_answer("reviews", await self._get(f"http://{self._targets.reviews}/reviews/{_product(number)}"))]

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with self._session.get(url) as response:
                body = await response.text()
                if response.status != 200:
                    raise RequestFailedError(f"{url}: status {response.status}, {dict(response.headers)}, body {body}")
                return dict(await response.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestFailedError(f"{url}: {type(error).__name__}: {error}") from error


class GrpcCalls:
    """Calls over gRPC, one method for each direction of streaming."""

    WATCHED = 30
    ORDERS = 15
    QUESTIONS = 60
    PAUSE_S = 0.05
    """Between two messages, so that calls are under way whenever something happens to the mesh."""

    def __init__(self, prices: PricesStub, quotes: QuotesStub) -> None:
        self._prices = prices
        self._quotes = quotes

    async def price(self, number: int) -> list[Answer]:
        """One price."""

        async def talk(stream: Stream[Any, Any]) -> list[Answer]:
            await stream.send_message(GetPriceRequest(product=_product(number)), end=True)
            price = await _received(stream)
            return [Answer("prices", price.version, price.instance)]

        return await _call(self._prices.GetPrice, talk)

    async def watch(self, number: int) -> list[Answer]:
        """Many quotes for one question."""

        async def talk(stream: Stream[Any, Any]) -> list[Answer]:
            interval_ms = int(self.PAUSE_S * 1000)
            question = WatchRequest(product=_product(number), count=self.WATCHED, interval_ms=interval_ms)
            await stream.send_message(question, end=True)
            return _quoted([quote async for quote in stream], self.WATCHED)

        return await _call(self._quotes.Watch, talk)

    async def place_orders(self, number: int) -> list[Answer]:
        """Many orders, one receipt."""

        async def talk(stream: Stream[Any, Any]) -> list[Answer]:
            for _ in range(self.ORDERS):
                await stream.send_message(Order(product=_product(number), quantity=1))
                await asyncio.sleep(self.PAUSE_S)
            await stream.end()
            receipt = await _received(stream)
            if receipt.orders != self.ORDERS:
                raise RequestFailedError(f"{self.ORDERS} orders were sent, the receipt is for {receipt.orders}")
            return [Answer("quotes", "", receipt.instance)]

        return await _call(self._quotes.PlaceOrders, talk)

    async def haggle(self, number: int) -> list[Answer]:
        """A quote for each question, while questions keep coming."""

        async def talk(stream: Stream[Any, Any]) -> list[Answer]:
            quotes: list[Quote] = []
            for quantity in range(1, self.QUESTIONS + 1):
                await stream.send_message(Question(product=_product(number), quantity=quantity))
                quotes.append(await _received(stream))
                await asyncio.sleep(self.PAUSE_S)
            await stream.end()
            if await stream.recv_message() is not None:
                raise RequestFailedError("a quote came that nobody asked for")
            return _quoted(quotes, self.QUESTIONS)

        return await _call(self._quotes.Haggle, talk)


async def _call(
    method: ServiceMethod[Any, Any], talk: Callable[[Stream[Any, Any]], Awaitable[list[Answer]]]
) -> list[Answer]:
    stream: Stream[Any, Any] | None = None
    try:
        async with method.open(timeout=CALL_TIMEOUT_S) as stream:
            return await talk(stream)
    except GRPCError as error:
        fields = dict(stream.trailing_metadata or stream.initial_metadata or {}) if stream else {}
        raise RequestFailedError(f"{method.name}: {error.status.name}: {error.message}, {fields}") from error
    except (StreamTerminatedError, ProtocolError, OSError, TimeoutError) as error:
        raise RequestFailedError(f"{method.name}: {type(error).__name__}: {error}") from error


async def _received(stream: Stream[Any, Any]) -> Any:
    message = await stream.recv_message()
    if message is None:
        # Leaving the stream's context raises the status that came instead of a message.
        await stream.recv_trailing_metadata()
        raise RequestFailedError("the call ended with OK but without a message")
    return message


def _quoted(quotes: list[Quote], wanted: int) -> list[Answer]:
    got = [quote.sequence for quote in quotes]
    if got != list(range(1, wanted + 1)):
        raise RequestFailedError(f"{wanted} quotes were due, these came: {got}")
    instances = {quote.instance for quote in quotes}
    if len(instances) != 1:
        raise RequestFailedError(f"one call was answered by {sorted(instances)}")
    return [Answer("quotes", "", instances.pop())]


def _answer(service: str, body: dict[str, Any]) -> Answer:
    return Answer(service, body["version"], body["instance"])


def _product(number: int) -> str:
    return PRODUCTS[number % len(PRODUCTS)]


def _channel(address: str) -> Channel:
    host, _, port = address.rpartition(":")
    return Channel(host, int(port))
