from __future__ import annotations

import asyncio

from remora.model.names import ServiceName
from remora.proto.mesh.v1.discovery_pb2 import KeepAlive, SidecarMessage
from remora.sidecar.source.outbox import Outbox

A, B = ServiceName("a.default"), ServiceName("b.default")


def keep_alive(lease: int) -> SidecarMessage:
    return SidecarMessage(keep_alive=KeepAlive(lease_id=lease))


async def test_a_later_message_on_a_matter_replaces_the_earlier() -> None:
    outbox = Outbox()
    for lease in range(100):
        outbox.put("keep-alive", keep_alive(lease))
    assert await outbox.take() == [keep_alive(99)]


async def test_subscriptions_are_gathered_into_one_message() -> None:
    outbox = Outbox()
    outbox.subscribe(A)
    outbox.subscribe(B)
    outbox.unsubscribe(A)
    outbox.subscribe(A)
    (message,) = await outbox.take()
    assert list(message.subscribe.services) == [B, A]


async def test_every_delta_is_answered_for_itself() -> None:
    outbox = Outbox()
    outbox.nack(1, "bad")
    outbox.ack(2)
    answers = await outbox.take()
    assert [(message.nack.reason, message.ack.nonce) for message in answers] == [("bad", 0), ("", 2)]


async def test_taking_waits_until_there_is_something() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.ack(1)
    assert len(await taking) == 1
