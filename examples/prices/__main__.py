"""`python -m examples.prices --port 0`"""

from __future__ import annotations

import asyncio

from examples.common.grpc_server import serve_grpc
from examples.common.settings import parse_settings
from examples.prices.handlers import PriceHandlers
from examples.prices.service import PriceService


def main() -> None:
    """Runs one instance."""
    settings = parse_settings("prices")
    asyncio.run(serve_grpc([PriceHandlers(PriceService(), settings)], settings))


if __name__ == "__main__":
    main()
