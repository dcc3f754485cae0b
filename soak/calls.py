"""gRPC of all four kinds by grpcio, with some calls that are cancelled."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from soak.app import ASKED, SERVICE
from soak.ledger import BEFORE, WITHIN, ClientFailure, WrongByteError
from soak.pattern import digest, pattern

SIZES = (0, 10, 1_000, 20_000, 300_000)
TIMEOUT_S = 60.0
CANCELLED_SHARE = 0.1


class Calls:
    """One channel."""

    def __init__(self, port: int) -> None:
        # What the app's end looks like is what we want to see: no retries by the client itself.
        options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
        options += [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*options, ("grpc.use_local_subchannel_pool", 1)])

    async def stop(self) -> None:
        await self._channel.close()

    async def unary(self) -> int:
        request = _asked(random.choice(SIZES), 1) + pattern(1, random.choice(SIZES))
        seed, size, _ = ASKED.unpack_from(request)
        try:
            answer = await self._channel.unary_unary(f"/{SERVICE}/Unary")(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _failure("Unary", 0, error) from error
        _check(answer, digest(request).encode() + pattern(seed, size), "Unary")
        return len(request) + len(answer)

    async def client_stream(self) -> int:
        messages = [pattern(number, random.choice(SIZES[:4])) for number in range(random.randint(0, 20))]

        async def produce() -> AsyncIterator[bytes]:
            for message in messages:
                yield message

        try:
            answer = await self._channel.stream_unary(f"/{SERVICE}/ClientStream")(produce(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _failure("ClientStream", 0, error) from error
        seen = hashlib.sha256(b"".join(messages)).hexdigest()
        _check(answer, f"{len(messages)} {seen}".encode(), "ClientStream")
        return sum(map(len, messages))

    async def server_stream(self) -> int:
        request = _asked(random.choice(SIZES[:4]), random.randint(0, 30))
        seed, size, count = ASKED.unpack_from(request)
        leave_at = random.randint(0, count) if random.random() < CANCELLED_SHARE else -1
        call = self._channel.unary_stream(f"/{SERVICE}/ServerStream")(request, timeout=TIMEOUT_S)
        number = 0
        try:
            async for message in call:
                _check(message, pattern(seed + number, size), "ServerStream")
                number += 1
                if number == leave_at:
                    call.cancel()
                    return number * size
        except grpc.aio.AioRpcError as error:
            raise _failure("ServerStream", number, error) from error
        if number != count:
            raise WrongByteError(f"ServerStream: {number} messages, not {count}")
        return count * size

    async def bidirectional(self) -> int:
        call = self._channel.stream_stream(f"/{SERVICE}/Bidirectional")(timeout=TIMEOUT_S)
        number = total = 0
        try:
            for number in range(random.randint(1, 15)):
                message = pattern(number, random.choice(SIZES[:4]))
                await call.write(message)
                _check(await call.read(), message, "Bidirectional")
                total += 2 * len(message)
            if random.random() < CANCELLED_SHARE:
                call.cancel()
                return total
            await call.done_writing()
            if await call.read() is not grpc.aio.EOF:
                raise WrongByteError("Bidirectional: a message more than was sent")
        except grpc.aio.AioRpcError as error:
            raise _failure("Bidirectional", number, error) from error
        except grpc.aio.UsageError as error:
            raise ClientFailure("Bidirectional", WITHIN if number else BEFORE, type(error).__name__) from error
        if await call.code() is not grpc.StatusCode.OK:
            raise ClientFailure("Bidirectional", WITHIN, (await call.code()).name)
        return total


def _asked(size: int, count: int) -> bytes:
    return ASKED.pack(random.randrange(1 << 30), size, count)


def _check(got: object, expected: bytes, what: str) -> None:
    if got is grpc.aio.EOF:
        raise ClientFailure(what, WITHIN, "UNAVAILABLE")
    if got != expected:
        raise WrongByteError(f"{what}: a message is not what was sent")


def _failure(what: str, messages: int, error: grpc.aio.AioRpcError) -> ClientFailure:
    return ClientFailure(what, WITHIN if messages else BEFORE, error.code().name)
