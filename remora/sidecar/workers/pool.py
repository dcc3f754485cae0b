"""All workers of a sidecar: to the parent, one data path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from remora.model.names import ServiceName
from remora.model.shares import QuotaKey
from remora.model.snapshot import Snapshot, SnapshotError
from remora.sidecar.admin.pages import Page
from remora.sidecar.admin.views import ClusterView, WorkerView
from remora.sidecar.datapath import places
from remora.sidecar.listener.outbound import Discoverer
from remora.sidecar.options import Options
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.health import HealthChecks, Member
from remora.sidecar.workers import counts
from remora.sidecar.workers.channel import MAX_MESSAGE
from remora.sidecar.workers.leases import Leases
from remora.sidecar.workers.merge import merge_clusters
from remora.sidecar.workers.messages import Configure, encode
from remora.sidecar.workers.nursery import Nursery
from remora.sidecar.workers.seat import Seat

TICK_S = 1.0
"""How often workers hand over their counts without being asked for them by a page."""
REFRESH_TIMEOUT_S = 1.0
"""A page does not wait longer for a worker that does not answer; it shows what is known of it."""


class WorkerPool:
    """`options.workers` workers. `options` have no port 0; `metrics` gets all that they count."""

    def __init__(self, options: Options, nursery: Nursery, metrics: Metrics) -> None:
        self.own_ports: set[int] = set()
        """Ports of the parent. Workers are told those that are here when they start."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when workers can no longer be replaced."""
        self._options = options
        self._nursery = nursery
        self._metrics = metrics
        self._snapshot = Snapshot()
        self._configuration = b""
        self._discoverer: Discoverer | None = None
        self._early: list[tuple[Seat, ServiceName]] = []
        self._seats: list[Seat] = []
        self._ticks: asyncio.Task[None] | None = None
        self._checks = HealthChecks(self._on_check, metrics)
        """Endpoints are asked once for all workers."""
        self._leases = Leases(options.workers)
        self._reported: dict[int, float] = {}

    # ── a data path ──

    def discover_by(self, discoverer: Discoverer) -> None:
        """Answer what workers ask for, and have asked for before, by `discoverer`."""
        self._discoverer = discoverer
        early, self._early = self._early, []
        for seat, service in early:
            self.on_asked(seat, service)

    async def start(self) -> Mapping[str, int]:
        """Start all and wait until all listen; gives the port of each name. Raises ListenError."""
        self.use(self._snapshot)
        ports = {place.name: place.address.port for place in places(self._options)}
        # What is shown in the order in which it is opened, with none there yet.
        self._metrics.connections.update(dict.fromkeys(ports, 0))
        self._seats = [Seat(number, self._nursery, self) for number in range(self._options.workers)]
        await asyncio.gather(*(seat.first for seat in self._seats))
        self._ticks = asyncio.get_running_loop().create_task(self._tick(), name="workers")
        return ports

    def use(self, snapshot: Snapshot) -> None:
        """Hand `snapshot` to all workers. Raises SnapshotError, handing out nothing, for one that does not compile."""
        RouteTable(snapshot, self._options.namespace)
        configuration = encode(Configure(snapshot, tuple(self.own_ports)))
        if len(configuration) > MAX_MESSAGE:
            raise SnapshotError(
                f"revision {snapshot.revision} has {len(configuration)} bytes, over the {MAX_MESSAGE} that workers take"
            )
        self._snapshot, self._configuration = snapshot, configuration
        self._leases.follow(snapshot.enforced_limits(self._options.own_service(snapshot)))
        for seat in self._seats:
            seat.configure(configuration)
        self._checks.update(snapshot)

    def _on_check(self, service: ServiceName, endpoint: str, fault: str) -> None:
        for seat in self._seats:
            seat.check(Member(service, endpoint), fault)

    def take_wanted(self) -> dict[QuotaKey, int]:
        """What all requests needed of limits since the last call."""
        return self._leases.take_wanted()

    def lease(self, shares: Mapping[QuotaKey, float]) -> None:
        """From now on these parts of shared limits are ours."""
        self._leases.lease(shares)
        self._hand_out()

    def drain(self) -> None:
        """All answer what comes, and tell callers to go elsewhere."""
        for seat in self._seats:
            seat.drain()

    async def finish(self) -> bool:
        """All take nothing new and let live requests end; whether all did in time."""
        return all(await asyncio.gather(*(seat.finish() for seat in self._seats)))

    async def close(self) -> None:
        """End all at once, and the nursery."""
        self._checks.close()
        if self._ticks is not None:
            self._ticks.cancel()
            await asyncio.wait([self._ticks])
        await asyncio.gather(*(seat.stop() for seat in self._seats))
        self._nursery.close()

    # ── for the pages ──

    async def refresh(self) -> None:
        """Have all report."""
        reports = [seat.ask(clusters=True) for seat in self._seats]
        if reports:
            await asyncio.wait(reports, timeout=REFRESH_TIMEOUT_S)
        self._add_up()

    async def explain(self, query: str, config: str) -> Page:
        """The page /explain: all workers are asked, since each has its own connections and memory."""
        from remora.sidecar.explain.page import QuestionError, looks_back, read_query, refusal, service_asked
        from remora.sidecar.workers.merge_told import merge_told

        try:
            if not looks_back(query):
                read_query(query, has_app=self._options.upstream is not None)
        except QuestionError as error:
            return refusal(error)
        service = service_asked(query, self._options.namespace)
        if service is not None and self._discoverer is not None and self._discoverer.known(service) is False:
            for seat in self._seats:
                seat.answer(service, False)
        asked = {seat.number: seat.inquire(query, config) for seat in self._seats}
        if asked:
            await asyncio.wait(asked.values(), timeout=REFRESH_TIMEOUT_S)
        told = {number: answer.result() for number, answer in asked.items() if answer.done()}
        return merge_told({number: each for number, each in told.items() if each is not None}, query)

    def clusters(self) -> list[ClusterView]:
        """As of the last refresh."""
        return merge_clusters({seat.number: seat.clusters for seat in self._seats})

    def views(self) -> list[WorkerView]:
        """Each worker."""
        return [seat.view() for seat in self._seats]

    def missing(self) -> list[str]:
        """What keeps workers from carrying traffic, a sentence each."""
        if self._ticks is None:
            return ["the workers are starting"]
        return [reason for reason in (seat.missing() for seat in self._seats) if reason]

    # ── said by seats ──

    def configuration(self) -> bytes:
        return self._configuration

    def failing(self) -> Iterable[tuple[Member, str]]:
        return self._checks.failing()

    def on_asked(self, seat: Seat, service: ServiceName) -> None:
        if self._discoverer is None:
            self._early.append((seat, service))
            return

        def answer(found: asyncio.Future[bool]) -> None:
            seat.answer(service, not found.cancelled() and found.result())

        self._discoverer.subscribe(service).add_done_callback(answer)

    def on_report(self, taken: counts.Taken, used: tuple[ServiceName, ...]) -> None:
        counts.add(self._metrics, taken)
        if self._discoverer is not None:
            for service in used:
                self._discoverer.touch(service)

    def on_wanted(self, seat: Seat, wanted: Mapping[QuotaKey, int]) -> None:
        now = time.monotonic()
        seconds = now - self._reported.get(seat.number, now - TICK_S)
        self._reported[seat.number] = now
        if seconds > 0:
            self._leases.reported(seat.number, wanted, seconds)

    def on_started(self, seat: Seat) -> None:
        self._leases.started(seat.number)
        self._reported.pop(seat.number, None)

    def _hand_out(self) -> None:
        for seat in self._seats:
            news = self._leases.news(seat.number)
            if news:
                seat.lease(news)

    def on_nursery_gone(self) -> None:
        self.on_lost()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for seat in self._seats:
                seat.tick()
            self._hand_out()

    def _add_up(self) -> None:
        for place in places(self._options):
            total = sum(seat.connections.get(place.name, 0) for seat in self._seats)
            self._metrics.connections[place.name] = total
