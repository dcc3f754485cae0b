"""The snapshot as control pushes it.

One stream to one of several replicas of control. Whatever happens to it, the snapshot in use stays until control sends
a better one; the data path only asks (`known`, `is_subscribed`) and never waits here.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from grpclib.exceptions import GRPCError

from remora.model.address import Address
from remora.model.names import ServiceName
from remora.model.snapshot import Snapshot, SnapshotError
from remora.proto.channel import CALL_ERRORS
from remora.proto.isolated import isolated
from remora.proto.mesh.v1.discovery_pb2 import ControlMessage, Delta, Hello, SidecarMessage, Subscribe
from remora.sidecar.source.backoff import Backoff
from remora.sidecar.source.delta import decode, has_own, named_in
from remora.sidecar.source.outbox import Outbox
from remora.sidecar.source.quota import QuotaAgent
from remora.sidecar.source.registration import Registrar
from remora.sidecar.source.stream import ControlStream, open_stream
from remora.sidecar.source.subscriptions import Subscriptions

log = logging.getLogger(__name__)

Sink = Callable[[Snapshot], None]
"""Puts a snapshot to use, or raises SnapshotError and has changed nothing."""

RECONNECT_BASE_S = 0.1
RECONNECT_CAP_S = 5.0
STABLE_S = 5.0
"""A stream that held for so long was a good one: the next failure starts the backoff anew."""
IDLE_SWEEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Node:
    """Who this sidecar is, as it tells control."""

    id: str
    """Unique per start: the instance id."""
    service: str = ""
    """Without namespace; empty for a sidecar that only calls."""
    namespace: str = "default"
    version: str = ""
    zone: str = ""
    sidecar_version: str = ""


class SourceState(msgspec.Struct, frozen=True):
    """The control stream, for people. `since` is Unix time in seconds: connected, or disconnected, since then."""

    connected: bool
    control: str
    """The address in use, or tried last."""
    control_id: str
    since: float
    last_error: str
    """Why the last stream ended or could not be made; empty when none did."""
    revision: int
    services: int
    endpoints: int
    """Endpoint sets, not endpoints."""
    subscriptions: int
    deltas: int
    nacks: int
    last_nack: str


class ControlSource:
    """Keeps a snapshot as new as control's. Lives on the event loop."""

    def __init__(
        self,
        addresses: Sequence[Address],
        node: Node,
        sink: Sink,
        *,
        services: Iterable[ServiceName] = (),
        initial: Snapshot | None = None,
        registrar: Registrar | None = None,
        quotas: QuotaAgent | None = None,
        on_state: Callable[[], None] | None = None,
        max_on_demand: int = 1000,
        idle_s: float = 3600.0,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`services` are subscribed at once and for good. Those of `initial` (the last known good) are subscribed at
        once too, but like all that come on demand: up to `max_on_demand`, until unused for `idle_s` seconds.
        `on_state` is called after each change that `synced` or `state()` shows."""
        self._addresses = tuple(addresses)
        self._node = node
        self._sink = sink
        self._registrar = registrar
        self._quotas = quotas
        self._on_state = on_state
        self._idle_s = idle_s
        self._snapshot = initial or Snapshot()
        self._subscriptions = Subscriptions(services, max_on_demand)
        for service in self._snapshot.services:
            self._subscriptions.add(service, time.monotonic())
        self._unknown: set[ServiceName] = set()
        self._waiting: dict[ServiceName, list[asyncio.Future[bool]]] = {}
        self._backoff = Backoff(RECONNECT_BASE_S, RECONNECT_CAP_S, random)
        # Replicas are equal: sidecars spread over them by where each starts.
        self._next_address = int(random() * len(self._addresses))
        self._outbox: Outbox | None = None
        self._away = False
        self._fresh = True
        self._vanished: frozenset[ServiceName] = frozenset()
        self._synced = False
        self._control_id = ""
        self._since = time.time()
        self._last_error = ""
        self._told: set[str] = set()  # failures that were logged since the last stream
        self._deltas = 0
        self._nacks = 0
        self._last_nack = ""
        self._task: asyncio.Task[None] | None = None
        self._sweep: asyncio.TimerHandle | None = None

    # For the data path.

    def known(self, service: ServiceName) -> bool | None:
        """True: in the snapshot. False: control knows nothing of it now. None: not asked, or not answered yet."""
        if service in self._snapshot.services:
            return True
        return False if service in self._unknown else None

    def is_subscribed(self, service: ServiceName) -> bool:
        """Whether control is, or will be, asked to keep `service` up to date here."""
        return service in self._subscriptions

    def touch(self, service: ServiceName) -> None:
        """`service` is in use: keeps an on-demand subscription."""
        self._subscriptions.touch(service, time.monotonic())

    def subscribe(self, service: ServiceName) -> asyncio.Future[bool]:
        """Ask for `service`; the future says whether the mesh knows it, once control has answered and the sink has run.

        It is done at once when that is known already, or when control is away: then the snapshot at hand decides. Each
        caller has a future of its own and may cancel it.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if service not in self._subscriptions:
            self._subscribe(service)
        else:
            self.touch(service)
        known = self.known(service)
        if known is None and not self._away:
            self._waiting.setdefault(service, []).append(answer)
        else:
            answer.set_result(bool(known))
        return answer

    # For the app that owns this.

    @property
    def snapshot(self) -> Snapshot:
        """The last one that the sink took, or the initial one."""
        return self._snapshot

    @property
    def synced(self) -> bool:
        """Whether some control has answered since the start, and the sink took it."""
        return self._synced

    def state(self) -> SourceState:
        """How the stream stands."""
        return SourceState(
            connected=self._outbox is not None,
            control=str(self._addresses[self._next_address]),
            control_id=self._control_id,
            since=self._since,
            last_error=self._last_error,
            revision=self._snapshot.revision,
            services=len(self._snapshot.services),
            endpoints=len(self._snapshot.endpoints),
            subscriptions=len(self._subscriptions),
            deltas=self._deltas,
            nacks=self._nacks,
            last_nack=self._last_nack,
        )

    def start(self) -> None:
        """Connect, and keep connecting, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="control-source")
        self._sweep = asyncio.get_running_loop().call_later(IDLE_SWEEP_S, self._drop_idle)

    async def stop(self) -> None:
        """Close the stream and stop. The snapshot stays as it is."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._resolve(tuple(self._waiting))

    async def _run(self) -> None:
        while True:
            address = self._addresses[self._next_address]
            started = time.monotonic()
            try:
                await isolated(self._serve(address))
                reason = f"Control at {address} ended the stream."
            except CALL_ERRORS as error:
                reason = f"Control at {address} cannot be used: {_words(error)}."
            except Exception as error:  # a fault of ours must not end the loop that would outlive it
                log.exception("The stream with control at %s failed in an unexpected way.", address)
                reason = f"Control at {address} cannot be used: {error!r}."
            finally:
                was_connected = self._outbox is not None
                self._disconnected()
            if was_connected and time.monotonic() - started >= STABLE_S:
                self._backoff.reset()
            self._note_failure(reason, was_connected)
            await asyncio.sleep(self._backoff.next_delay())
            self._next_address = (self._next_address + 1) % len(self._addresses)

    async def _serve(self, address: Address) -> None:
        async with open_stream(address) as stream:
            await self._talk(stream)

    async def _talk(self, stream: ControlStream) -> None:
        node = self._node
        hello = Hello(
            node=node.id,
            service=node.service,
            namespace=node.namespace,
            version=node.version,
            zone=node.zone,
            sidecar_version=node.sidecar_version,
            revision=self._snapshot.revision,
        )
        welcome = await stream.greet(hello)
        outbox = Outbox()
        self._connected(outbox, welcome.control)
        async for message in stream.talk(outbox):
            self._receive(message)

    def _connected(self, outbox: Outbox, control_id: str) -> None:
        self._outbox = outbox
        self._away = False
        self._fresh = True
        self._control_id = control_id
        self._told.clear()
        self._since = time.time()
        log.info("Connected to control %s at %s.", control_id, self._addresses[self._next_address])
        # All in one message, empty too: its answer is one delta that tells what is gone since the last stream.
        names = self._subscriptions.names()
        outbox.put("subscriptions", SidecarMessage(subscribe=Subscribe(services=names)))
        if self._registrar is not None:
            self._registrar.connected(outbox.put)
        if self._quotas is not None:
            self._quotas.connected(outbox.put)
        self._changed()

    def _disconnected(self) -> None:
        self._away = True
        self._unknown.clear()
        if self._outbox is not None:
            self._outbox = None
            self._since = time.time()
            if self._registrar is not None:
                self._registrar.disconnected()
            if self._quotas is not None:
                self._quotas.disconnected()
        self._resolve(tuple(self._waiting))

    def _note_failure(self, reason: str, was_connected: bool) -> None:
        if was_connected or reason not in self._told:
            log.warning("%s Carrying on with revision %d and trying again.", reason, self._snapshot.revision)
        self._told.add(reason)
        self._last_error = reason
        self._changed()

    def _receive(self, message: ControlMessage) -> None:
        kind = message.WhichOneof("message")
        if kind == "delta":
            self._receive_delta(message.delta)
        elif kind == "shares":
            if self._quotas is not None:
                self._quotas.received(message.shares)
        elif self._registrar is None:
            return
        elif kind == "registered":
            self._registrar.registered(message.registered)
        elif kind == "registration_failed":
            self._registrar.failed(message.registration_failed.instance, message.registration_failed.reason)
        elif kind == "deregistered":
            self._registrar.deregistered(message.deregistered.instance)

    def _receive_delta(self, delta: Delta) -> None:
        assert self._outbox is not None
        self._deltas += 1
        named = named_in(delta)
        if self._fresh:
            # The first delta of a stream answers all subscriptions: what it does not name is gone.
            self._fresh = False
            self._vanished = frozenset((*self._snapshot.services, *self._snapshot.endpoints)) - named
            if not has_own(delta):
                self._snapshot = msgspec.structs.replace(self._snapshot, own=None)
        refusal = self._try_apply(delta)
        if refusal:
            self._nacks += 1
            self._last_nack = refusal
            self._outbox.nack(delta.nonce, refusal)
        else:
            self._synced = True
            self._outbox.ack(delta.nonce)
        gone = map(ServiceName, (*delta.unknown, *delta.removals))
        unknown = [name for name in gone if name in self._subscriptions]
        self._unknown.update(unknown)
        self._unknown.difference_update(self._snapshot.services)
        self._resolve((*named, *unknown))
        self._changed()

    def _try_apply(self, delta: Delta) -> str:
        """Why the delta is refused; empty when it is in use now."""
        try:
            self._apply(delta)
        except SnapshotError as error:
            log.error("Refused revision %d of control, the one in use stays: %s", delta.revision, error)
            return str(error) or "no reason given"
        except Exception as error:  # a fault of ours in one part must not keep all others from coming
            log.exception("Revision %d of control could not be put to use, the one in use stays.", delta.revision)
            return f"a fault of the sidecar: {error!r}"
        return ""

    def _apply(self, delta: Delta) -> None:
        snapshot = decode(delta).onto(self._snapshot, self._vanished)
        self._sink(snapshot)
        self._snapshot = snapshot
        self._vanished = frozenset()

    def _subscribe(self, service: ServiceName) -> None:
        evicted = self._subscriptions.add(service, time.monotonic())
        if evicted is not None:
            self._unsubscribe(evicted)
        if self._outbox is not None:
            self._outbox.subscribe(service)

    def _unsubscribe(self, service: ServiceName) -> None:
        self._unknown.discard(service)
        self._resolve((service,))
        if self._outbox is not None:
            self._outbox.unsubscribe(service)

    def _drop_idle(self) -> None:
        for service in self._subscriptions.drop_idle(time.monotonic() - self._idle_s):
            self._unsubscribe(service)
        self._sweep = asyncio.get_running_loop().call_later(IDLE_SWEEP_S, self._drop_idle)

    def _resolve(self, services: Iterable[ServiceName]) -> None:
        for service in services:
            for answer in self._waiting.pop(service, ()):
                if not answer.done():
                    answer.set_result(service in self._snapshot.services)

    def _changed(self) -> None:
        if self._on_state is not None:
            self._on_state()


def _words(error: Exception) -> str:
    if isinstance(error, GRPCError):
        return f"{error.message or 'no reason given'} ({error.status.name})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__
