"""The story: what is done to the mesh while clients use it, and what must hold each time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from demo.load import Load, Targets
from demo.mesh import Client, Mesh, Pod
from demo.processes import ChildError, Family
from demo.screen import Screen, Step, StepFailedError
from demo.tally import Tally
from demo.traffic import Traffic

POLICIES = Path(__file__).parents[1] / "examples" / "policies" / "demo"

INSTANCES = (
    *[("shop", "v1")] * 2,
    *[("reviews", "v1")] * 2,
    *[("reviews", "v2")] * 2,
    *[("prices", "v1")] * 3,
    *[("quotes", "v1")] * 2,
)
"""(service, version) of everything that runs."""

SETTLE_S = 20.0
"""Longest time from a change to the traffic that shows it."""
FORGET_S = 60.0
"""Longest time from an instance's death to its lease's end and the push that tells callers."""
SAMPLE = 100
"""Answers that a share is judged by: at 50 % half of them, 15 more or less (three standard deviations)."""
TOLERANCE = 15
CONTROL_OUTAGE_S = 3.0
ETCD_OUTAGE_S = 10.0
WARM_UP_REQUESTS = 2
DRAW_S = 1.0


class Story:
    """One telling. Its steps are methods, in the order in which `tell` calls them."""

    def __init__(self, family: Family, folder: Path, screen: Screen, session: aiohttp.ClientSession) -> None:
        self._folder = folder
        self._screen = screen
        self._traffic = Traffic(session)
        self.mesh = Mesh(family, folder, session)
        self.tally = Tally(folder / "failures.log")
        self._client: Client | None = None
        self._load: Load | None = None
        self._drawing: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether every step held and no request failed."""
        return not self._screen.failed_steps and self.tally.failures == 0 and self.tally.requests > 0

    @property
    def client(self) -> Client:
        """The load generator's sidecar, once it runs."""
        assert self._client is not None
        return self._client

    async def tell(self) -> None:
        """All steps. Without those that start the mesh there is no story; after any other that fails it goes on."""
        await self._start_etcd_and_control()
        await self._apply_policies()
        await self._start_instances()
        await self._start_load()
        if self._screen.is_live:
            self._drawing = asyncio.create_task(self._keep_drawing(), name="draw")
        for step in (
            self._shift_half,
            self._shift_all,
            self._kill_instances,
            self._add_instances,
            self._replace_gracefully,
            self._refuse_bad_policy,
            self._restart_control,
            self._shift_back_to_half,
            self._stop_etcd,
            self._shift_all_again,
        ):
            with contextlib.suppress(StepFailedError, ChildError):
                await step()

    async def end(self) -> None:
        """Stops the load and prints what came of it all."""
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.wait([self._drawing])
        if self._load is None:
            return
        await self._load.stop()
        self._screen.print_traffic(await self._traffic.totals(self.mesh.pods))
        self._screen.print_summary(self.tally)

    async def _keep_drawing(self) -> None:
        while True:
            rows = await self._traffic.rows(self.mesh.pods)
            self._screen.show_traffic(rows, f"{self.tally.requests} requests, {self.tally.failures} failed")
            await asyncio.sleep(DRAW_S)

    # ── start ──

    async def _start_etcd_and_control(self) -> None:
        async with self._screen.step("start etcd and control") as step:
            await self.mesh.start_etcd()
            await self.mesh.start_control()
            step.note(f"etcd {self.mesh.parts.etcd_url}, control {self.mesh.parts.control_url}")

    async def _apply_policies(self) -> None:
        async with self._screen.step("apply examples/policies/demo: all reviews come from v1") as step:
            files = sorted(POLICIES.glob("*.yaml"))
            await self.mesh.parts.apply(*files)
            step.note(", ".join(file.name for file in files))

    async def _start_instances(self) -> None:
        counts = Counter(service for service, _ in INSTANCES)
        shown = ", ".join(f"{count} x {service}" for service, count in counts.items())
        async with self._screen.step(f"start {shown}, a sidecar beside each"):
            await self.mesh.start_pods(INSTANCES)
            self._client = await self.mesh.start_client(counts)
            await self.mesh.parts.until_known(self._client.sidecar, counts)

    async def _start_load(self) -> None:
        targets = Targets(**self.client.outbound)
        async with self._watched("send load: HTTP, gRPC unary, gRPC streams in every direction") as step:
            self._load = Load(targets, self.tally)
            self._load.start()
            await self._expect(
                "requests of every kind are answered",
                lambda: all(kind.requests >= WARM_UP_REQUESTS for kind in self.tally.kinds.values()),
            )
            versions = self.tally.versions("reviews", 0.0, SAMPLE)
            step.note(f"reviews answered so far: {_shown(versions)}")
            if set(versions) != {"v1"}:
                raise StepFailedError(f"all reviews should come from v1, but: {_shown(versions)}")

    # ── what happens to it ──

    async def _shift_half(self) -> None:
        await self._shift(50, "canary: half of the reviews from v2")

    async def _shift_all(self) -> None:
        await self._shift(100, "canary: all reviews from v2")

    async def _shift_back_to_half(self) -> None:
        await self._shift(50, "edit the route again, through the new control: half from v1")

    async def _shift_all_again(self) -> None:
        await self._shift(100, "edit the route once more: all from v2")

    async def _shift(self, v2: int, title: str) -> None:
        async with self._watched(title) as step:
            await self.mesh.parts.apply(self._route_with_weights(100 - v2, v2))
            applied = time.monotonic()
            tolerance = 0 if v2 in (0, 100) else TOLERANCE

            def shifted() -> bool:
                versions = self.tally.versions("reviews", applied, SAMPLE)
                return versions.total() == SAMPLE and abs(versions["v2"] - v2) <= tolerance

            await self._expect(
                f"{v2} % of the reviews come from v2",
                shifted,
                seen=lambda: _shown(self.tally.versions("reviews", applied, SAMPLE)),
            )
            versions = self.tally.versions("reviews", applied, SAMPLE)
            step.note(f"weights {100 - v2} : {v2}; the last {SAMPLE} reviews came from {_shown(versions)}")

    async def _kill_instances(self) -> None:
        victims = [self._alive("reviews", "v2"), self._alive("prices", "v1")]
        names = " and ".join(pod.name for pod in victims)
        async with self._watched(f"SIGKILL {names}, app and sidecar") as step:
            before = await self._retries()
            killed = time.monotonic()
            for pod in victims:
                pod.kill()
            for pod in victims:
                await self._expect_answers(pod.service, killed)
            step.note(f"{SAMPLE} answers each since; {await self._retries() - before} requests were tried elsewhere")
            await self.mesh.parts.until_known(self.client.sidecar, self._alive_counts(), exactly=True, timeout=FORGET_S)
            step.note(f"callers were told that they are gone {time.monotonic() - killed:.1f} s after the kill")

    async def _add_instances(self) -> None:
        async with self._watched("start new instances in their place") as step:
            pods = await self.mesh.start_pods([("reviews", "v2"), ("prices", "v1")])
            registered = time.monotonic()
            for pod in pods:
                await self._expect_from(pod, registered)
            step.note(f"{' and '.join(pod.name for pod in pods)} answer {time.monotonic() - registered:.1f} s later")

    async def _replace_gracefully(self) -> None:
        leaving = self._alive("quotes", "v1")
        async with self._watched(f"replace {leaving.name}: a new one first, then SIGTERM to the old one") as step:
            [new] = await self.mesh.start_pods([(leaving.service, leaving.version)])
            await self._expect_from(new, time.monotonic())
            step.note(f"{leaving.name} ended {await leaving.stop():.1f} s after SIGTERM: its streams came to their end")

    async def _refuse_bad_policy(self) -> None:
        async with self._watched("put a broken route into etcd by hand") as step:
            route = yaml.safe_load((POLICIES / "reviews-route.yaml").read_text())
            route["spec"]["rules"][0]["backendRefs"][0]["weight"] = "all of it"
            await self.mesh.put_document(route)
            put = time.monotonic()
            step.note(f"control says: {await self.mesh.refusal(route)}")
            await self._expect_answers("reviews", put)
            versions = self.tally.versions("reviews", put, SAMPLE)
            step.note(f"the last good route stays: {_shown(versions)}")
            if set(versions) != {"v2"}:
                raise StepFailedError(f"a refused document must change nothing, but: {_shown(versions)}")

    async def _restart_control(self) -> None:
        async with self._watched(f"SIGKILL control, and start it again {CONTROL_OUTAGE_S:.0f} s later") as step:
            before = self.tally.requests
            await self.mesh.kill_control()
            await asyncio.sleep(CONTROL_OUTAGE_S)
            step.note(f"{self.tally.requests - before} requests were answered without it")
            await self.mesh.start_control()
            await self._expect_everyone(time.monotonic())

    async def _stop_etcd(self) -> None:
        async with self._watched(f"stop etcd for {ETCD_OUTAGE_S:.0f} s") as step:
            before = self.tally.requests
            await self.mesh.stop_etcd()
            await asyncio.sleep(ETCD_OUTAGE_S)
            step.note(f"{self.tally.requests - before} requests were answered without it")
            await self.mesh.start_etcd()
            await self._expect_everyone(time.monotonic())
            await self.mesh.parts.until_known(self.client.sidecar, self._alive_counts(), exactly=True)
            step.note("every instance is still registered, and answers")

    # ── what must hold ──

    @asynccontextmanager
    async def _watched(self, title: str) -> AsyncIterator[Step]:
        """A step during which no client request may fail."""
        failures = self.tally.failures
        async with self._screen.step(title) as step:
            try:
                yield step
            finally:
                failed = self.tally.failures - failures
            if failed:
                raise StepFailedError(f"{failed} requests failed, see {self.tally.failures_log}: {self.tally.last}")

    async def _expect(
        self, what: str, holds: Callable[[], bool], seen: Callable[[], object] = lambda: "", timeout: float = SETTLE_S
    ) -> None:
        if not await self.tally.until(holds, timeout):
            raise StepFailedError(f"within {timeout:.0f} s it should be that {what}; seen: {seen() or 'nothing'}")

    async def _expect_answers(self, service: str, since: float) -> None:
        await self._expect(
            f"{service} gave {SAMPLE} answers",
            lambda: len(self.tally.answers(service, since)) >= SAMPLE,
            seen=lambda: _shown(self.tally.instances(service, since, SAMPLE)),
        )

    async def _expect_from(self, pod: Pod, since: float) -> None:
        await self._expect(
            f"{pod.name} answers",
            lambda: pod.name in self.tally.instances(pod.service, since, SAMPLE),
            seen=lambda: _shown(self.tally.instances(pod.service, since, SAMPLE)),
        )

    async def _expect_everyone(self, since: float) -> None:
        """Every instance that should be called is: of reviews, those of the versions that the route names."""
        versions = set(self.tally.versions("reviews", since - SETTLE_S, SAMPLE)) or {"v1", "v2"}
        for pod in self._pods_alive():
            if pod.service != "reviews" or pod.version in versions:
                await self._expect_from(pod, since)

    def _pods_alive(self) -> list[Pod]:
        return [pod for pod in self.mesh.pods if pod.running]

    def _alive(self, service: str, version: str) -> Pod:
        return next(pod for pod in self._pods_alive() if (pod.service, pod.version) == (service, version))

    def _alive_counts(self) -> Counter[str]:
        return Counter(pod.service for pod in self._pods_alive())

    async def _retries(self) -> int:
        shops = [pod.metrics for pod in self._pods_alive() if pod.service == "shop"]
        return await self._traffic.retries([self.client.metrics, *shops])

    def _route_with_weights(self, v1: int, v2: int) -> Path:
        """The route of the examples as a person would edit it."""
        route: dict[str, Any] = yaml.safe_load((POLICIES / "reviews-route.yaml").read_text())
        for backend, weight in zip(route["spec"]["rules"][0]["backendRefs"], (v1, v2), strict=True):
            backend["weight"] = weight
        path = self._folder / "reviews-route.yaml"
        path.write_text(yaml.safe_dump(route, sort_keys=False))
        return path


def _shown(counts: Counter[str]) -> str:
    items: Iterable[tuple[str, int]] = sorted(counts.items())
    return ", ".join(f"{count} x {name}" for name, count in items)
