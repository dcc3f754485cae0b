"""What waits to be sent to control.

Bounded by what it is about, not by how often it changes: a later message on the same matter replaces the earlier one.
"""

from __future__ import annotations

import asyncio

from remora.model.names import ServiceName
from remora.proto.mesh.v1.discovery_pb2 import Ack, Nack, SidecarMessage, Subscribe, Unsubscribe


class Outbox:
    """One stream's. Thrown away with the stream: after a reconnect everything is said anew."""

    __slots__ = ("_messages", "_some", "_subscribe", "_unsubscribe")

    def __init__(self) -> None:
        self._subscribe: dict[ServiceName, None] = {}
        self._unsubscribe: dict[ServiceName, None] = {}
        self._messages: dict[str, SidecarMessage] = {}
        self._some = asyncio.Event()

    def subscribe(self, service: ServiceName) -> None:
        self._unsubscribe.pop(service, None)
        self._subscribe[service] = None
        self._some.set()

    def unsubscribe(self, service: ServiceName) -> None:
        # Said even when a subscription was still waiting: control may know the service from earlier on this stream.
        self._subscribe.pop(service, None)
        self._unsubscribe[service] = None
        self._some.set()

    def ack(self, nonce: int) -> None:
        self.put(f"answer-{nonce}", SidecarMessage(ack=Ack(nonce=nonce)))

    def nack(self, nonce: int, reason: str) -> None:
        self.put(f"answer-{nonce}", SidecarMessage(nack=Nack(nonce=nonce, reason=reason)))

    def put(self, matter: str, message: SidecarMessage) -> None:
        """Queue `message`; one that waits on the same `matter` is dropped."""
        self._messages.pop(matter, None)
        self._messages[matter] = message
        self._some.set()

    async def take(self) -> list[SidecarMessage]:
        """All that waits, as soon as there is something."""
        await self._some.wait()
        self._some.clear()
        taken = list(self._messages.values())
        self._messages.clear()
        if self._unsubscribe:
            taken.append(SidecarMessage(unsubscribe=Unsubscribe(services=list(self._unsubscribe))))
            self._unsubscribe.clear()
        if self._subscribe:
            taken.append(SidecarMessage(subscribe=Subscribe(services=list(self._subscribe))))
            self._subscribe.clear()
        return taken
