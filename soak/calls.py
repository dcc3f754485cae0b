"""gRPC of all four kinds by grpcio, with some calls that are cancelled.

Where answers are streamed the head of the answer comes at once: such a call fails `in the answer`, whenever it does.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc
import grpc.aio

from soak.app import ASKED, ID_FIELD, SERVICE
from soak.ledger import BEFORE, REPLAYED_BYTES, WITHIN, ClientFailure, WrongByteError
from soak.pattern import digest, pattern

SIZES = (0, 10, 1_000, 20_000, 300_000)
TIMEOUT_S = 60.0
CANCELLED_SHARE = 0.1
SLOW_SHARE = 0.1
SLOW_STEP_S = 0.03
WHOLE_BYTES = 1_000
"""An answer up to here comes by one write: it is there, or it is not."""


class Calls:
    """One channel."""

    _numbers = itertools.count()

    def __init__(self, rnd: Random, port: int) -> None:
        self._rnd = rnd
        # What the app's end looks like is what we want to see: no retries by the client itself.
        options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
        options += [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
        options += [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    async def stop(self) -> None:
        await self._channel.close()
        # A failed call stays alive in the cycle of its exception and its frame, and its connection with it.
        gc.collect()

    async def unary(self) -> int:
        rnd = self._rnd
        request = self._asked(rnd.choice(SIZES), 1) + pattern(1, rnd.choice(SIZES))
        seed, size, _ = ASKED.unpack_from(request)
        replayed = len(request) <= REPLAYED_BYTES and size <= WHOLE_BYTES
        try:
            answer = await self._channel.unary_unary(f"/{SERVICE}/Unary")(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _failure("Unary", BEFORE, error, replayed=replayed) from error
        _check(answer, digest(request).encode() + pattern(seed, size), "Unary")
        return len(request) + len(answer)

    async def client_stream(self) -> int:
        rnd = self._rnd
        messages = [pattern(number, rnd.choice(SIZES[:4])) for number in range(rnd.randint(0, 20))]

        async def produce() -> AsyncIterator[bytes]:
            for message in messages:
                yield message

        try:
            method = self._channel.stream_unary(f"/{SERVICE}/ClientStream")
            answer = await method(produce(), timeout=TIMEOUT_S, metadata=self._id())
        except grpc.aio.AioRpcError as error:
            raise _failure("ClientStream", BEFORE, error) from error
        seen = hashlib.sha256(b"".join(messages)).hexdigest()
        _check(answer, f"{len(messages)} {seen}".encode(), "ClientStream")
        return sum(map(len, messages))

    async def server_stream(self) -> int:
        rnd = self._rnd
        request = self._asked(rnd.choice(SIZES[:4]), rnd.randint(0, 30))
        seed, size, count = map(int, ASKED.unpack_from(request))
        leave_at = rnd.randint(0, count) if rnd.random() < CANCELLED_SHARE else -1
        pause_s = SLOW_STEP_S if rnd.random() < SLOW_SHARE else 0
        call = self._channel.unary_stream(f"/{SERVICE}/ServerStream")(request, timeout=TIMEOUT_S)
        number = 0
        try:
            async for message in call:
                _check(message, pattern(seed + number, size), "ServerStream")
                number += 1
                if number == leave_at:
                    call.cancel()
                    return number * size
                if pause_s:
                    await asyncio.sleep(pause_s)
        except grpc.aio.AioRpcError as error:
            raise _failure("ServerStream", WITHIN, error) from error
        if number != count:
            raise WrongByteError(f"ServerStream: {number} messages, not {count}")
        return count * size

    async def bidirectional(self) -> int:
        rnd = self._rnd
        call = self._channel.stream_stream(f"/{SERVICE}/Bidirectional")(timeout=TIMEOUT_S, metadata=self._id())
        number = total = 0
        try:
            for number in range(rnd.randint(1, 15)):
                message = pattern(number, rnd.choice(SIZES[:4]))
                await call.write(message)
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    raise await _ended(call)
                _check(answer, message, "Bidirectional")
                total += 2 * len(message)
            if rnd.random() < CANCELLED_SHARE:
                call.cancel()
                return total
            await call.done_writing()
            if await call.read() is not grpc.aio.EOF:
                raise WrongByteError("Bidirectional: a message more than was sent")
        except grpc.aio.AioRpcError as error:
            raise _failure("Bidirectional", WITHIN, error) from error
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            # Writing to a call that has ended.
            raise await _ended(call) from error
        if await call.code() is not grpc.StatusCode.OK:
            raise await _ended(call)
        return total

    def _asked(self, size: int, count: int) -> bytes:
        return ASKED.pack(self._rnd.randrange(1 << 30), size, count)

    def _id(self) -> tuple[tuple[str, str]]:
        return ((ID_FIELD, f"g{next(self._numbers)}"),)


async def _ended(call: Any) -> ClientFailure:
    return ClientFailure("Bidirectional", WITHIN, (await call.code()).name)


def _check(got: object, expected: bytes, what: str) -> None:
    if got != expected:
        raise WrongByteError(f"{what}: a message is not what was sent")


def _failure(what: str, phase: str, error: grpc.aio.AioRpcError, *, replayed: bool = False) -> ClientFailure:
    return ClientFailure(what, phase, error.code().name, replayed=replayed)
