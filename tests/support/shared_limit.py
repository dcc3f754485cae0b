"""Three sidecars that keep to one limit, two controls and their store, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from remora.control.push.connection import Connection
from remora.control.push.quota import ROUND_S, Quotas
from remora.control.push.resources import Resources
from remora.control.store.interface import Event, EventKind, Revision
from remora.control.store.memory import MemoryStore
from remora.model.base import Origin
from remora.model.limits import RateLimit, ServiceLimits
from remora.model.shares import QuotaKey
from remora.model.snapshot import Service
from remora.proto.mesh.v1 import discovery_pb2 as pb
from remora.sidecar.policy.limit import Limit
from remora.sidecar.source.quota import REPORT_S, QuotaAgent
from tests.support.push import PlainCatalog, name

ORIGIN = Origin("RateLimitPolicy", "default", "shop")
LIMIT = RateLimit(name("shop"), "shop/all", ORIGIN, 100, burst=20, scope="service")
KEY: QuotaKey = (LIMIT.service, LIMIT.name)
STEP_S = 0.01


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Control:
    """One of several, on a store of all."""

    def __init__(self, store: MemoryStore, control_id: str, clock: Clock, limit: RateLimit) -> None:
        self.store = store
        self.catalog = PlainCatalog()
        self.catalog.put(Service(name("shop"), limits=ServiceLimits((limit,))))
        self.quotas = Quotas(store, "test", control_id, self.catalog.service, clock)
        self._keys: set[str] = set()

    async def round(self) -> None:
        await self._watch()
        self.quotas.share()
        await self.quotas.write()

    async def _watch(self) -> None:
        """As a watch would have it."""
        listing = await self.store.list("/mesh/test/quotas/")
        found = {entry.key: entry.value for entry in listing.entries}
        gone = [key for key in self._keys if key not in found]
        events = [Event(EventKind.PUT, key, value, Revision(1)) for key, value in found.items()]
        self.quotas.take([*events, *(Event(EventKind.DELETE, key, b"", Revision(1)) for key in gone)])
        self._keys = set(found)


class Sidecar:
    """Its limit, its agent, and its stream to a control."""

    def __init__(self, node: str, clock: Clock, control: Control, limit: RateLimit = LIMIT) -> None:
        self.limit = Limit(limit.rate, limit.size, 0)
        self.clock = clock
        self.node = node
        self.revision = 0
        self.passed = 0
        self._due = 0.0
        self.agent = QuotaAgent(
            lambda: {KEY: self.limit.take_wanted()},
            lambda shares: self.lease(shares[KEY]) if KEY in shares else None,
            clock,
        )
        self.agent.follow({KEY: limit.rate})
        self.connect(control)

    def lease(self, share: float) -> None:
        self.limit.lease(share, self.clock.now)

    def connect(self, control: Control) -> None:
        self.control = control
        self.connection = Connection(
            pb.Hello(node=self.node, revision=self.revision), "test", Resources(control.catalog)
        )
        self.agent.connected(lambda _, message: control.quotas.told(self.connection, message.demand))
        self.hear()

    def leave(self) -> None:
        self.agent.disconnected()
        self.control.quotas.left(self.connection)

    def hear(self) -> None:
        for message in self.connection.take_replies():
            self.agent.received(message.shares)

    def serve(self, rate: float) -> None:
        """The requests of one step."""
        self._due += rate * STEP_S
        while self._due >= 1.0:
            self._due -= 1.0
            self.limit.wanted += 1
            self.passed += self.limit.bucket(b"", self.clock.now).take(self.clock.now)


class Mesh:
    def __init__(self, limit: RateLimit = LIMIT) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.controls = [Control(self.store, control, self.clock, limit) for control in ("a", "b")]
        homes = (self.controls[0], self.controls[0], self.controls[1])
        self.sidecars = [Sidecar(f"shop-{number}", self.clock, home, limit) for number, home in enumerate(homes)]

    async def run(self, seconds: float, *rates: float) -> int:
        """How many pass in so many seconds, at these rates of requests."""
        return await self.play(seconds, lambda: rates)

    async def play(self, seconds: float, rates: Callable[[], Sequence[float]]) -> int:
        """As `run`, with rates that are asked for at each step."""
        before = sum(sidecar.passed for sidecar in self.sidecars)
        for step in range(round(seconds / STEP_S)):
            self.clock.now += STEP_S
            self.store.advance(STEP_S)
            for sidecar, rate in zip(self.sidecars, rates(), strict=True):
                sidecar.serve(rate)
            if step % round(REPORT_S / STEP_S) == 0:
                for sidecar in self.sidecars:
                    sidecar.agent.look()
            if step % round(ROUND_S / STEP_S) == 25:
                for control in self.controls:
                    await control.round()
            for sidecar in self.sidecars:
                sidecar.hear()
        for sidecar in self.sidecars:
            sidecar.agent.stop()
        return sum(sidecar.passed for sidecar in self.sidecars) - before

    @property
    def shares(self) -> list[float]:
        return [sidecar.limit.share for sidecar in self.sidecars]
