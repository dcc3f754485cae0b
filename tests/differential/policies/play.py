"""One request to one proxy, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import Callable

import h11

from tests.differential.policies.asks import Ask
from tests.differential.policies.grpc_peers import DEADLINE_S, call
from tests.differential.policies.stage import ATTEMPT, CASE, Arrival, Stage
from tests.differential.policies.tables import MARK, Table, copies_of

COPIES_DEADLINE_S = 1
_ATTEMPT_COUNT = b"x-envoy-attempt-count"


@dataclasses.dataclass(frozen=True)
class Side:
    """A proxy under comparison."""

    port: int
    stage: Stage
    retries_of: Callable[[str], int] | None = None
    """How many retries a service has had so far; None: answers say how many tries there were."""


@dataclasses.dataclass
class Outcome:
    """What became of a request."""

    status: int = 0
    """0: the connection ended without an answer."""
    whole: bool = False
    fields: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    """Of the answer, its trailers among them; names in lower case."""
    arrivals: list[Arrival] = dataclasses.field(default_factory=list)
    copies: list[Arrival] = dataclasses.field(default_factory=list)
    """What mirrors got."""
    tries: int | None = None
    """Attempts, also those that did not arrive; None: nobody says."""

    @property
    def answered_by(self) -> int | None:
        """Which attempt's answer it is; None: the proxy's own."""
        value = self.field(ATTEMPT)
        return None if value is None else int(value)

    def field(self, name: bytes) -> bytes | None:
        return next((value for found, value in self.fields if found == name), None)

    def __str__(self) -> str:
        arrived = [f"{seen.backend} {seen.method.decode()} {seen.target.decode()}" for seen in self.arrivals]
        end = "" if self.whole else " broken"
        return f"{self.status}{end} by attempt {self.answered_by}, {self.tries} tries, arrived {arrived} "


async def play(side: Side, table: Table, case: bytes, ask: Ask) -> Outcome:
    side.stage.begin(case, ask)
    service = table.service
    before = side.retries_of(service) if side.retries_of else 0
    arrivals: list[Arrival] = []
    copies: list[Arrival] = []
    try:
        outcome = await send(side.port, case, ask)
        rule = table.rule((outcome.field(MARK.encode()) or b"").decode())
        await _wait_for_copies(side.stage, case, copies_of(rule) if rule else 0)
    finally:
        arrivals, copies = side.stage.end(case)
    outcome.arrivals, outcome.copies = arrivals, copies
    if side.retries_of:
        routed = bool(arrivals) or outcome.status >= 502 or (ask.grpc and outcome.field(b"grpc-status") != b"12")
        outcome.tries = side.retries_of(service) - before + 1 if routed else None
    else:
        count = outcome.field(_ATTEMPT_COUNT)
        outcome.tries = None if count is None else int(count)
    return outcome


async def send(port: int, case: bytes, ask: Ask) -> Outcome:
    """Ask, and read the answer."""
    return Outcome(*await call(port, case, ask)) if ask.grpc or ask.http2 else await _ask(port, case, ask)


async def _wait_for_copies(stage: Stage, case: bytes, count: int) -> None:
    """Nobody who is answered has waited for them."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(COPIES_DEADLINE_S):
            while stage.copies(case) < count:
                await asyncio.sleep(0.002)


async def _ask(port: int, case: bytes, ask: Ask) -> Outcome:
    connection = h11.Connection(h11.CLIENT)
    fields = [("Host", ask.authority), *ask.fields, (CASE.decode(), case.decode())]
    if ask.body or ask.method in ("POST", "PUT", "PATCH"):
        fields.append(("Content-Length", str(len(ask.body))))
    outcome = Outcome()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Who gives up says so by RST; after a FIN alone somebody may still wait for an answer.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        events = (
            h11.Request(method=ask.method, target=ask.target, headers=fields),
            *((h11.Data(data=ask.body),) if ask.body else ()),
            h11.EndOfMessage(),
        )
        # At once: who is answered early sends no more, and then there is no copy for a mirror.
        writer.write(b"".join(connection.send(event) or b"" for event in events))
        async with asyncio.timeout(DEADLINE_S):
            await _read(reader, connection, outcome)
    except (ConnectionError, h11.RemoteProtocolError):
        pass
    finally:
        writer.transport.abort()
    return outcome


async def _read(reader: asyncio.StreamReader, connection: h11.Connection, outcome: Outcome) -> None:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            outcome.status = event.status_code
            outcome.fields = [(bytes(name).lower(), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h11.EndOfMessage):
            outcome.whole = True
            return
        elif event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.ConnectionClosed):
            return
