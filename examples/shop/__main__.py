"""`REVIEWS_URL=http://… PRICES_TARGET=HOST:PORT python -m examples.shop --port 0`"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from grpclib.client import Channel

from examples.common.http_server import serve_http
from examples.common.settings import Settings, parse_settings
from examples.shop.clients import CALL_TIMEOUT_S, PricesClient, ReviewsClient
from examples.shop.handlers import ShopHandlers
from examples.shop.service import ShopService


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where the services behind the shop are."""

    reviews_url: str
    prices_host: str
    prices_port: int


def upstreams_from_environment() -> Upstreams:
    """Reads REVIEWS_URL and PRICES_TARGET; raises ValueError for a target that is not HOST:PORT."""
    target = os.environ.get("PRICES_TARGET", "prices:8080")
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"PRICES_TARGET must be HOST:PORT, not {target!r}")
    return Upstreams(os.environ.get("REVIEWS_URL", "http://reviews"), host, int(port))


async def run(settings: Settings, upstreams: Upstreams) -> None:
    """Runs one instance until it is told to stop."""
    app = web.Application()
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
    channel = Channel(upstreams.prices_host, upstreams.prices_port)
    service = ShopService(ReviewsClient(session, upstreams.reviews_url), PricesClient(channel))
    ShopHandlers(service, settings).add_to(app)

    async def clients(_: web.Application) -> AsyncIterator[None]:
        yield
        await session.close()
        channel.close()

    app.cleanup_ctx.append(clients)
    await serve_http(app, settings)


def main() -> int:
    """Runs one instance; 2 when the environment does not say where to call."""
    settings = parse_settings("shop")
    try:
        upstreams = upstreams_from_environment()
    except ValueError as error:
        print(f"shop: {error}", file=sys.stderr)
        return 2
    asyncio.run(run(settings, upstreams))
    return 0


if __name__ == "__main__":
    sys.exit(main())
