"""WebSocket by aiohttp: messages come back as they were sent, in order."""

from __future__ import annotations

import asyncio
import random

import aiohttp

from soak.ledger import BEFORE, WITHIN, ClientFailure, WrongByteError
from soak.pattern import pattern

SIZES = (0, 10, 5_000, 100_000)
MESSAGES = 20
TIMEOUT_S = 60.0


async def converse(port: int) -> int:
    """One connection, MESSAGES to and fro, closed properly or dropped."""
    total, phase = 0, BEFORE
    try:
        async with asyncio.timeout(TIMEOUT_S), aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{port}/ws", max_msg_size=0) as socket:
                phase = WITHIN
                for number in range(MESSAGES):
                    message = pattern(number, random.choice(SIZES))
                    await socket.send_bytes(message)
                    got = await socket.receive()
                    if got.type is not aiohttp.WSMsgType.BINARY:
                        raise ClientFailure("GET", WITHIN, got.type.name)
                    if got.data != message:
                        raise WrongByteError(f"WebSocket: message {number} is not what was sent")
                    total += 2 * len(message)
    except aiohttp.WSServerHandshakeError as error:
        raise ClientFailure("GET", BEFORE, f"{error.status}") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ClientFailure("GET", phase, type(error).__name__) from error
    return total
