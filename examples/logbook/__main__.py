"""`python -m examples.logbook --port 0`"""

from __future__ import annotations

import asyncio

from examples.common.grpc_server import serve_grpc
from examples.common.settings import parse_settings
from examples.logbook.handlers import LogbookHandlers
from examples.logbook.service import LogbookService


def main() -> None:
    """Runs one instance."""
    settings = parse_settings("logbook")
    asyncio.run(serve_grpc([LogbookHandlers(LogbookService())], settings))


if __name__ == "__main__":
    main()
