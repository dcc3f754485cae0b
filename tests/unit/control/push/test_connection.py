from __future__ import annotations

import asyncio

from remora.control.push.connection import Connection
from remora.control.push.resources import Resources
from remora.proto.mesh.v1 import discovery_pb2 as pb
from tests.support.push import PlainCatalog


def connection() -> Connection:
    return Connection(pb.Hello(node="n-1"), "127.0.0.1:1", Resources(PlainCatalog()))


def registered(lease: int) -> pb.ControlMessage:
    return pb.ControlMessage(registered=pb.Registered(instance="n-1", lease_id=lease))


async def test_a_delta_that_is_never_answered_ends_the_stream() -> None:
    waiting = connection()
    waiting.expect_answer(0.01)
    async with asyncio.timeout(10):
        assert await waiting.ended == "no answer to a delta within 0.01 s"


async def test_an_answer_in_time_keeps_the_stream() -> None:
    waiting = connection()
    waiting.expect_answer(0.0)
    waiting.answered()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.ended.done()


async def test_of_several_answers_on_a_matter_the_last_is_sent() -> None:
    waiting = connection()
    for lease in range(3):
        waiting.reply("registration", registered(lease))
    await waiting.woken()
    assert waiting.take_replies() == [registered(2)]
    assert waiting.take_replies() == []
