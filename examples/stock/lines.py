"""The protocol, after SMTP's manner: a greeting, then one answer for each line.

S: 220 stock v1 at your service
C: COUNT mask
S: 250 40
C: TAKE mask 2
S: 250 38
C: QUIT
S: 221 bye
"""

from __future__ import annotations

import asyncio
import contextlib

from examples.common.settings import Settings
from examples.stock.service import StockError, StockService

MAX_LINE_BYTES = 1024


class StockLines:
    """Serves one connection after another."""

    def __init__(self, service: StockService, settings: Settings) -> None:
        self._service = service
        self._greeting = f"220 stock {settings.version} at your service\r\n".encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The life of a connection."""
        with contextlib.suppress(ConnectionError, ValueError):  # gone, or a line too long
            writer.write(self._greeting)
            while line := await reader.readline():
                answer = self._answer(line.decode("latin-1").split())
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()
                if answer.startswith("221"):
                    break
        writer.close()

    def _answer(self, words: list[str]) -> str:
        try:
            match words:
                case ["COUNT", product]:
                    return f"250 {self._service.count(product)}"
                case ["TAKE", product, number] if number.isascii() and number.isdigit():
                    return f"250 {self._service.take(product, int(number))}"
                case ["QUIT"]:
                    return "221 bye"
        except StockError as error:
            return f"550 {error}"
        return "500 say COUNT PRODUCT, TAKE PRODUCT NUMBER or QUIT"
