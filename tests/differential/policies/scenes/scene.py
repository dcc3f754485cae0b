"""A scene, who plays in it, and how it is set up for both proxies."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.differential.policies.asks import Act, Ask
from tests.differential.policies.grpc_peers import grpc_upstream
from tests.differential.policies.grpc_tables import MESSAGE
from tests.differential.policies.play import Outcome, send
from tests.differential.policies.stage import Arrival
from tests.differential.policies.start import Protocol, cluster, endpoints_document, envoy, our_sidecar
from tests.differential.policies.tables import Document, policy_document
from tests.differential.policies.translate import Config
from tests.differential.policies.upstream import http1_upstream

DEADLINE_S = 10
CALL = "/shop.v1.Orders/Get"
OURS = "mesh.remora.dev/v1alpha1"

Notes = list[str]


@dataclasses.dataclass(frozen=True)
class Meant:
    """A difference that is meant."""

    difference: str
    """By the name that docs/envoy-differences.md gives it."""
    notes: Notes
    """Ours."""


class Actor:
    """An endpoint of the service."""

    def __init__(self, number: int, places: list[int]) -> None:
        """`places`: where the service's requests have arrived, in their order."""
        self.arrivals: list[Arrival] = []
        self._number = number
        self._places = places
        self.act: Callable[[Arrival], Act] = lambda _: Act()
        """What it does with a request, which is the last of `arrivals` by then."""
        self._held: list[Callable[[], None]] = []

    def on_arrival(self, case: bytes, arrival: Arrival) -> tuple[int, Act]:
        self.arrivals.append(arrival)
        self._places.append(self._number)
        return len(self.arrivals) - 1, self.act(arrival)

    def hold(self, answer: Callable[[], None]) -> None:
        self._held.append(answer)

    def release(self) -> None:
        """Answer all that is held."""
        held, self._held = self._held, []
        for answer in held:
            answer()


@dataclasses.dataclass(frozen=True)
class Cast:
    """Who plays a scene at one proxy."""

    port: int
    service: str
    actors: Sequence[Actor]
    places: Sequence[int]
    """The index of the endpoint that got each request, in their order."""

    @property
    def arrived(self) -> int:
        """How many requests, at all endpoints together."""
        return len(self.places)

    async def ask(self, ask: Ask | None = None) -> Outcome:
        return await send(self.port, self.service.encode(), ask or get(self.service))

    async def place_of(self, ask: Ask) -> int | None:
        """The index of the endpoint that gets this request, nobody else asking; None: none does."""
        before = self.arrived
        await self.ask(ask)
        return self.places[-1] if self.arrived > before else None


@dataclasses.dataclass(frozen=True)
class Scene:
    """A service, the same policy written for both, and the play."""

    kind: str
    service: str
    drawn: str
    """What chance has made of it, for people."""
    documents: tuple[Document, ...]
    play: Callable[[Cast], Awaitable[Notes]]
    route: Config = dataclasses.field(default_factory=dict)
    """What its route has at Envoy, beside match and cluster."""
    action: Config = dataclasses.field(default_factory=dict)
    """The same of the route's action."""
    cluster: Config = dataclasses.field(default_factory=dict)
    endpoints: int = 1
    weights: tuple[int, ...] = ()
    protocol: Protocol = "http1"
    meant: Meant | None = None
    """How we may differ from Envoy."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Notes that differ, or are not what they must be."""

    scene: Scene
    ours: Notes
    theirs: Notes

    @property
    def is_lawful(self) -> bool:
        """Whether our notes are what they must be, as far as the scene knows; whatever Envoy's are."""
        return self.scene.meant is None or self.scene.meant.notes == self.ours

    @property
    def explanation(self) -> str | None:
        """The difference that is meant; None: it is not."""
        meant = self.scene.meant
        return meant.difference if meant is not None and self.is_lawful else None

    def __str__(self) -> str:
        return f"{self.scene.kind}: {self.scene.drawn}\n  ours:  {self.ours}\n  Envoy: {self.theirs}"


def get(service: str, *fields: tuple[str, str], target: str = "/", method: str = "GET") -> Ask:
    return Ask(service, method, target, fields)


def call(service: str, *fields: tuple[str, str]) -> Ask:
    return Ask(service, "POST", CALL, fields, MESSAGE, grpc=True)


def policy(service: str, **spec: object) -> Document:
    """A TrafficPolicy without retries and ejection, but for what `spec` says."""
    document = policy_document(service, {"attempts": 0})
    document["spec"].update(spec)
    return document


def ejecting(failures: int, base: str = "1h") -> Document:
    """The `outlier` of a TrafficPolicy that ejects all that fail so often in a row."""
    return {
        "consecutiveFailures": failures,
        "baseEjection": base,
        "maxEjection": "1h",
        "maxEjectedPercent": 100,
    }


def outlier_detection(failures: int, base: str = "3600s") -> Config:
    """The same for Envoy."""
    return {
        "consecutive_5xx": failures,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 0,
        # How often it is looked whether an ejection is over; each time but one since then makes the next one shorter.
        "interval": "0.2s",
        "base_ejection_time": base,
        "max_ejection_time": "3600s",
        "max_ejection_percent": 100,
    }


def at_once(panic: int = 50) -> Config:
    """Envoy's `common_lb_config` that hears of ejections and checks without delay (by default of up to a second)."""
    return {"update_merge_window": "0s", "healthy_panic_threshold": {"value": panic}}


def told(outcome: Outcome) -> str:
    """The status of an answer."""
    grpc = outcome.field(b"grpc-status")
    return f"{outcome.status}" + (f"/{grpc.decode()}" if grpc is not None else "")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def at_ours(scenes: Sequence[Scene]) -> AsyncIterator[list[Cast]]:
    async with AsyncExitStack() as stack:
        theaters = [await _open(stack, scene) for scene in scenes]
        documents = [document for scene in scenes for document in scene.documents]
        documents += [
            endpoints_document(scene.service, scene.protocol, theater.ports, scene.weights)
            for scene, theater in zip(scenes, theaters, strict=True)
        ]
        async with our_sidecar(documents) as (port, _):
            yield [theater.cast(port) for theater in theaters]


@asynccontextmanager
async def at_envoy(scenes: Sequence[Scene]) -> AsyncIterator[list[Cast]]:
    async with AsyncExitStack() as stack:
        theaters = [await _open(stack, scene) for scene in scenes]
        clusters = [
            cluster(scene.service, scene.protocol, theater.ports, scene.weights, **scene.cluster)
            for scene, theater in zip(scenes, theaters, strict=True)
        ]
        async with envoy([_virtual_host(scene) for scene in scenes], clusters) as port:
            yield [theater.cast(port) for theater in theaters]


def _virtual_host(scene: Scene) -> Config:
    action = {"cluster": scene.service, "timeout": "5s", **scene.action}
    route = {"match": {"prefix": "/"}, "route": action, **scene.route}
    return {"name": scene.service, "domains": [scene.service], "routes": [route]}


@dataclasses.dataclass(frozen=True)
class _Theater:
    """The upstreams of a scene."""

    service: str
    actors: list[Actor]
    ports: list[int]
    places: list[int]

    def cast(self, port: int) -> Cast:
        return Cast(port, self.service, self.actors, self.places)


async def _open(stack: AsyncExitStack, scene: Scene) -> _Theater:
    places: list[int] = []
    actors = [Actor(number, places) for number in range(scene.endpoints)]
    upstream = grpc_upstream if scene.protocol == "grpc" else http1_upstream
    ports = [await stack.enter_async_context(upstream(actor, scene.service)) for actor in actors]
    return _Theater(scene.service, actors, ports, places)


@asynccontextmanager
async def asking(*asks: Awaitable[Outcome]) -> AsyncIterator[list[asyncio.Task[Outcome]]]:
    """Requests under way; those that are left at the end are given up."""
    tasks = [asyncio.ensure_future(ask) for ask in asks]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
