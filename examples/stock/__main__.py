"""`python -m examples.stock --port 0`"""

from __future__ import annotations

import asyncio

from examples.common.process import listen, until_stopped
from examples.common.settings import Settings, parse_settings
from examples.stock.lines import MAX_LINE_BYTES, StockLines
from examples.stock.service import StockService


async def serve(settings: Settings) -> None:
    """Serves until it is told to stop."""
    lines = StockLines(StockService(), settings)
    sock = listen(settings.host, settings.port)
    server = await asyncio.start_server(lines.serve, sock=sock, limit=MAX_LINE_BYTES)
    await until_stopped()
    server.close()


def main() -> None:
    """Runs one instance."""
    asyncio.run(serve(parse_settings("stock")))


if __name__ == "__main__":
    main()
