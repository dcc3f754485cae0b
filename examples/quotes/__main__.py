"""`python -m examples.quotes --port 0`"""

from __future__ import annotations

import asyncio

from examples.common.grpc_server import serve_grpc
from examples.common.settings import parse_settings
from examples.quotes.handlers import QuoteHandlers
from examples.quotes.service import QuoteService


def main() -> None:
    """Runs one instance."""
    settings = parse_settings("quotes")
    asyncio.run(serve_grpc([QuoteHandlers(QuoteService(), settings)], settings))


if __name__ == "__main__":
    main()
