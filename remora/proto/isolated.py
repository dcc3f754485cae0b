"""Calls of grpclib, each in a task of its own.

grpclib ends a call whose connection or deadline is lost by cancelling the task that runs it, and raises its own error
in place of the CancelledError. In the caller's task that leaves `Task.cancelling()` up for good, and swallows a real
cancellation that comes at the same moment: a loop that tries again then outlives its stop, and a shutdown hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def isolated(call: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What `call` returns or raises. Whoever is cancelled here cancels `call`, and goes when it has ended."""
    task = asyncio.create_task(call)
    try:
        await asyncio.wait((task,))
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieve)
            await asyncio.wait((task,))
    return task.result()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Nobody waits for the outcome any more; asyncio would complain that nobody looked."""
    if not task.cancelled():
        task.exception()
