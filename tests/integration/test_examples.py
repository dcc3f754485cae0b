"""The example services as real processes, called by independent clients."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from demo.processes import Child
from examples.prices.prices_pb2 import GetPriceRequest, Price
from examples.quotes.quotes_grpc import QuotesStub
from examples.quotes.quotes_pb2 import Order, Question, WatchRequest
from tests.support.library import compile_set
from tests.support.mesh import running_row
from tests.support.process import running_sidecar

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(logs: Path, service: str, *args: str, **env: str) -> AsyncIterator[str]:
    """The address of a fresh instance, which must stop cleanly afterwards."""
    argv = [sys.executable, "-m", f"examples.{service}", "--port", "0", *args]
    child = await Child.start(service, argv, logs, env, ROOT)
    try:
        yield await child.address()
        assert await child.stop() == 0, child.last_words()
    finally:
        child.kill()
        await child.wait()


def channel_to(address: str) -> Channel:
    host, _, port = address.rpartition(":")
    return Channel(host, int(port))


async def test_reviews_v2_adds_ratings(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "reviews", "--version", "v1", "--instance", "one") as v1,
        running(tmp_path, "reviews", INSTANCE="two", VERSION="v2") as v2,
        aiohttp.ClientSession() as session,
    ):
        plain = await (await session.get(f"http://{v1}/reviews/mask")).json()
        rated = await (await session.get(f"http://{v2}/reviews/mask")).json()
        health = await session.get(f"http://{v1}/healthz")
        missing = await session.get(f"http://{v1}/reviews/boat")
    assert (plain["version"], plain["instance"]) == ("v1", "one")
    assert (rated["version"], rated["instance"], rated["rating"]) == ("v2", "two", 4.0)
    assert "rating" not in plain
    assert "stars" not in plain["reviews"][0]
    assert (health.status, missing.status) == (200, 404)


async def test_reviews_refuses_a_version_that_does_not_exist(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "examples.reviews", "--version", "v9"]
    child = await Child.start("reviews", argv, tmp_path, cwd=ROOT)
    assert await child.wait(30) == 2
    assert child.last_words() == "reviews: there is no version 'v9', only v1, v2"


async def test_prices_by_another_grpc_implementation(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "prices", "--instance", "p1") as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        get_price = channel.unary_unary(
            "/prices.v1.Prices/GetPrice",
            request_serializer=GetPriceRequest.SerializeToString,
            response_deserializer=Price.FromString,
        )
        price = await get_price(GetPriceRequest(product="fins"), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await get_price(GetPriceRequest(product="boat"), timeout=10)
    assert (price.cents, price.currency, price.instance) == (8950, "EUR", "p1")
    assert failed.value.code() == grpc.StatusCode.NOT_FOUND


async def test_quotes_streams_in_every_direction(tmp_path: Path) -> None:
    async with running(tmp_path, "quotes", "--instance", "q1") as address, channel_to(address) as channel:
        stub = QuotesStub(channel)
        watched = await stub.Watch(WatchRequest(product="mask", count=3, interval_ms=1))
        receipt = await stub.PlaceOrders([Order(product="mask", quantity=1), Order(product="fins", quantity=2)])
        async with stub.Haggle.open() as stream:
            haggled = []
            for quantity in (1, 10):
                await stream.send_message(Question(product="mask", quantity=quantity))
                answer = await stream.recv_message()
                assert answer is not None
                haggled.append(answer.cents)
            await stream.end()
            assert await stream.recv_message() is None
    assert [quote.sequence for quote in watched] == [1, 2, 3]
    assert {quote.instance for quote in watched} == {"q1"}
    assert (receipt.orders, receipt.cents) == (2, 3069 + 2 * 5488)
    assert haggled == [3069, 2790]


async def test_quotes_offers_health_and_reflection(tmp_path: Path) -> None:
    async with running(tmp_path, "quotes") as address, channel_to(address) as channel:
        health = await HealthStub(channel).Check(HealthCheckRequest())
        answers = await ServerReflectionStub(channel).ServerReflectionInfo([ServerReflectionRequest(list_services="")])
    assert health.status == HealthCheckResponse.SERVING
    assert "quotes.v1.Quotes" in {service.name for service in answers[0].list_services_response.service}


async def test_shop_asks_prices_and_reviews_and_hands_the_trace_on(tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    async def reviews(request: web.Request) -> web.Response:
        seen.update((name.lower(), value) for name, value in request.headers.items())
        return web.json_response({"version": "v1", "reviews": []})

    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id": "r-1"}
    async with (
        fake_reviews(reviews) as reviews_url,
        running(tmp_path, "prices", "--instance", "p1") as prices,
        running(tmp_path, "shop", "--instance", "s1", REVIEWS_URL=reviews_url, PRICES_TARGET=prices) as shop,
        aiohttp.ClientSession() as session,
    ):
        page = await (await session.get(f"http://{shop}/products/mask", headers=trace)).json()
        front = await (await session.get(f"http://{shop}/")).json()
        missing = await session.get(f"http://{shop}/products/boat")
    assert (page["instance"], page["price"]["instance"], page["reviews"]["version"]) == ("s1", "p1", "v1")
    assert {name: seen[name] for name in trace} == trace
    assert [product["price"]["cents"] for product in front["products"]] == [4900, 8950, 1990]
    assert missing.status == 404


async def test_shop_says_which_service_failed(tmp_path: Path) -> None:
    async def reviews(_: web.Request) -> web.Response:
        return web.Response(status=503, text="closed", headers={"x-mesh-error": "no_healthy_endpoint"})

    async with (
        fake_reviews(reviews) as reviews_url,
        running(tmp_path, "prices") as prices,
        running(tmp_path, "shop", REVIEWS_URL=reviews_url, PRICES_TARGET=prices) as shop,
        aiohttp.ClientSession() as session,
    ):
        page = await session.get(f"http://{shop}/products/mask")
        error = json.loads(await page.text())["error"]
    assert page.status == 502
    assert error == "reviews answered 503 (no_healthy_endpoint): closed"


async def test_requests_under_way_finish_before_reviews_stops(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "examples.reviews", "--port", "0"]
    child = await Child.start("reviews", argv, tmp_path, cwd=ROOT)
    host, _, port = (await child.address()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /reviews/mask HTTP/1.1\r\nhost: reviews\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert await child.stop() == 0
    assert head.startswith(b"HTTP/1.1 200")
    writer.close()


@asynccontextmanager
async def fake_reviews(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/reviews/{product}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def test_stock_speaks_first_through_two_sidecars(tmp_path: Path) -> None:
    """Declared, and found out."""
    async with running(tmp_path, "stock", "--version", "v2") as address:
        for number, protocol in enumerate(("tcp", "auto")):
            async with running_row(address, tmp_path, protocol, between=protocol) as row, asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", row.port)
                assert await reader.readline() == b"220 stock v2 at your service\r\n"
                for line, answer in (
                    (b"TAKE mask 2", b"250 %d" % (38 - 2 * number)),
                    (b"COUNT mask", b"250 %d" % (38 - 2 * number)),
                    (b"TAKE fins 99", b"550 not as many of 'fins'"),
                    (b"COUNT boat", b"550 no product 'boat'"),
                    (b"HELO", b"500 say COUNT PRODUCT, TAKE PRODUCT NUMBER or QUIT"),
                    (b"QUIT", b"221 bye"),
                ):
                    writer.write(line + b"\r\n")
                    assert await reader.readline() == answer + b"\r\n"
                assert await reader.read() == b""
                writer.close()


async def test_logbook_by_json_as_the_guide_shows(tmp_path: Path) -> None:
    own = ("--protocol", "grpc", "--health", "grpc", "--grpc-json", str(ROOT / "examples/logbook/logbook.pb"))
    async with (
        running(tmp_path, "logbook") as address,
        running_sidecar(address, *own) as sidecar,
        aiohttp.ClientSession(sidecar.url("inbound")) as session,
    ):
        dive = await (await session.get("/v1/divers/ada/dives/1")).json()
        assert (dive["place"], dive["depthM"], dive["duration"]) == ("Blue Hole", 28.5, "2520s")
        answer = await session.get("/v1/divers/ada/dives?minDepthM=20&water=SALT")
        lines = [json.loads(line)["result"]["name"] async for line in answer.content]
        assert lines == ["divers/ada/dives/1", "divers/ada/dives/3"]
        told = {
            "place": "Hemmoor",
            "depthM": 40,
            "water": "FRESH",
            "duration": "1980s",
            "start": "2026-11-20T11:00:00Z",
        }
        logged = await (await session.post("/v1/divers/ada/dives", json=told)).json()
        assert logged == {**told, "name": "divers/ada/dives/4"}
        assert await (await session.get("/v1/dives:latest")).json() == logged
        missing = await session.get("/v1/divers/ada/dives/9")
        assert (missing.status, (await missing.json())["message"]) == (404, "ada has no dive 9")


def test_the_descriptor_set_of_logbook_is_that_of_its_proto(tmp_path: Path) -> None:
    folder = ROOT / "examples/logbook"
    made = compile_set(folder / "logbook.proto", tmp_path / "logbook.pb")
    sets = [FileDescriptorSet.FromString(path.read_bytes()) for path in (made, folder / "logbook.pb")]
    assert sets[0] == sets[1]
