"""One sidecar's stream: who it is, what waits to be sent to it, and how it is told to end."""

from __future__ import annotations

import asyncio
import time

import msgspec

from remora.control.push.resources import Resources
from remora.control.push.session import Session
from remora.model.names import ServiceName, is_label, service_name, version_service
from remora.proto.mesh.v1 import discovery_pb2 as pb


class SessionView(msgspec.Struct, frozen=True):
    """A connected sidecar, for people."""

    node: str
    service: str
    namespace: str
    version: str
    zone: str
    sidecar_version: str
    peer: str
    connected_since: float
    """Unix time in seconds."""
    subscriptions: tuple[str, ...]
    resources: int
    """How many services and endpoint sets it holds."""
    acked_revision: int
    in_flight: bool
    pushes: int
    nacks: int
    last_nack: str
    registered: str
    """`service.namespace/instance`, or empty."""
    lease_id: int


class Connection:
    """The stream's state that other parts of push look at or change."""

    def __init__(self, hello: pb.Hello, peer: str, resources: Resources) -> None:
        self.hello = hello
        self.peer = peer
        self.session = Session(resources, _own_services(hello))
        self.connected_since = time.time()
        self.pushes = 0
        self.nacks = 0
        self.last_nack = ""
        self.registered = ""
        self.lease_id = 0
        self._replies: dict[str, pb.ControlMessage] = {}
        self._wake = asyncio.Event()
        self._overdue: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def reply(self, matter: str, message: pb.ControlMessage) -> None:
        """Queue an answer; one on the same matter that still waits is replaced."""
        self._replies[matter] = message
        self._wake.set()

    def take_replies(self) -> list[pb.ControlMessage]:
        replies = list(self._replies.values())
        self._replies.clear()
        return replies

    def expect_answer(self, timeout_s: float) -> None:
        """A delta was sent: without an answer in time the stream ends."""
        self.answered()
        fault = f"no answer to a delta within {timeout_s:g} s"
        self._overdue = asyncio.get_running_loop().call_later(timeout_s, self.end, fault)

    def answered(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def close(self) -> None:
        """The stream has ended."""
        self.answered()

    def end(self, fault: str = "") -> None:
        """Close the stream: cleanly, or with what the sidecar did wrong."""
        if not self._end.done():
            self._end.set_result(fault)

    @property
    def ended(self) -> asyncio.Future[str]:
        """Done once `end` is called, with its fault."""
        return self._end

    def view(self) -> SessionView:
        hello = self.hello
        return SessionView(
            node=hello.node,
            service=hello.service,
            namespace=hello.namespace,
            version=hello.version,
            zone=hello.zone,
            sidecar_version=hello.sidecar_version,
            peer=self.peer,
            connected_since=self.connected_since,
            subscriptions=tuple(sorted(self.session.subscribed)),
            resources=self.session.resources_sent,
            acked_revision=self.session.acked_revision,
            in_flight=self.session.in_flight is not None,
            pushes=self.pushes,
            nacks=self.nacks,
            last_nack=self.last_nack,
            registered=self.registered,
            lease_id=self.lease_id,
        )


def _own_services(hello: pb.Hello) -> tuple[ServiceName, ...]:
    """What is said of a version comes before what is said of the service."""
    if not is_label(hello.service) or not is_label(hello.namespace):
        return ()
    service = service_name(hello.service, hello.namespace)
    versioned = version_service(service, hello.version)
    return (service,) if versioned is None else (versioned, service)
