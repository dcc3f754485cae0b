"""Where JSON is converted: at once what is short, and the rest beside the event loop.

protobuf's JSON is plain Python: 4 MiB that are made up to be slow take some 10 s (measured), in which a loop would
carry no traffic. A thread shares the interpreter with the loop, a few milliseconds each in turn. There is one of it, so
that conversions get half of a core together at most; it starts with the first long message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

INLINE_BYTES = 8 * 1024
"""What is longer goes to the thread: even the slowest of this length takes less than 20 ms."""

MAX_WAITING = 64
"""Conversions that may wait or run before further requests are refused: each holds what is to be converted."""

T = TypeVar("T")


class Converter:
    """The thread, once there is need of it."""

    __slots__ = ("_executor", "_waiting")

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether no further request should be taken."""
        return self._waiting >= MAX_WAITING

    def run(self, convert: Callable[[], T], done: Callable[[asyncio.Future[T]], None]) -> asyncio.Future[T]:
        """Have `convert` called in the thread, then `done` on the loop. A future that is cancelled is not converted."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "json")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, convert)
        future.add_done_callback(self._on_done)
        future.add_done_callback(done)
        return future

    def _on_done(self, future: asyncio.Future[T]) -> None:  # noqa: ARG002
        self._waiting -= 1
