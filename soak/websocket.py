"""WebSocket by the websockets library: messages come back as they were sent, in order."""

from __future__ import annotations

import asyncio
from random import Random

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from soak.ledger import BEFORE, WITHIN, ClientFailure, WrongByteError
from soak.pattern import pattern

SIZES = (0, 10, 125, 126, 5_000, 100_000)
MESSAGES = 20
AHEAD = 4
"""Messages sent before the first is read back."""
DROPPED_SHARE = 0.1
TIMEOUT_S = 60.0


async def converse(rnd: Random, port: int) -> int:
    """One connection, MESSAGES to and fro, closed properly or dropped."""
    phase = BEFORE
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            connect(f"ws://127.0.0.1:{port}/ws", max_size=None, compression=None, proxy=None) as socket,
        ):
            phase = WITHIN
            messages = [pattern(number, rnd.choice(SIZES)) for number in range(MESSAGES)]
            for message in messages[:AHEAD]:
                await socket.send(message)
            for number, message in enumerate(messages):
                if number + AHEAD < MESSAGES:
                    await socket.send(messages[number + AHEAD])
                if await socket.recv() != message:
                    raise WrongByteError(f"message {number} is not what was sent")
            if rnd.random() < DROPPED_SHARE:
                socket.transport.abort()
    except InvalidStatus as error:
        response = error.response
        what = f"{response.status_code} {response.headers.get('x-mesh-error', '')}".strip()
        raise ClientFailure("GET", BEFORE, what) from error
    except (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, TimeoutError, EOFError) as error:
        raise ClientFailure("GET", phase, type(error).__name__) from error
    return 2 * sum(map(len, messages))
