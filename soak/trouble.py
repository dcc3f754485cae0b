"""What happens to the mesh under load: one thing after another, at random."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from soak.ledger import Ledger
from soak.world import KINDS, Pod, World

AWAY_S = (0.0, 2.0)
"""How long an app is away."""
BETWEEN_S = (1.0, 4.0)


class Trouble:
    """Makes it. `kept`: pods whose sidecar is not to end, since it is watched for leaks."""

    def __init__(self, world: World, ledger: Ledger, rnd: Random, kept: frozenset[str]) -> None:
        self.made: Counter[str] = Counter()
        self.told: list[str] = []
        """What was done, and when."""
        self._world, self._ledger, self._rnd, self._kept = world, ledger, rnd, kept

    async def make(self, until: asyncio.Event) -> None:
        """Until the event is set; ends with all in order again. Raises ChildError when a part does not do its part."""
        todo: list[Callable[[], Awaitable[None]]] = []
        while not until.is_set():
            # All of them in turn, each turn in another order: a short run has each once.
            todo = todo or self._rnd.sample(self._all(), len(self._all()))
            await todo.pop()()
            try:
                async with asyncio.timeout(self._rnd.uniform(*BETWEEN_S)):
                    await until.wait()
            except TimeoutError:
                continue

    def _tell(self, what: str, pod: Pod | None = None) -> None:
        self.told.append(f"at {self._ledger.now():.1f} s: {what}{f', {pod.name}' if pod else ''}")

    def _done(self, what: str) -> None:
        self._tell(f"{what}: over")
        self.made[what] += 1

    def _all(self) -> list[Callable[[], Awaitable[None]]]:
        kills = [self._kill_app, self._kill_app, self._stop_app]
        return [*kills, self._change_policy, self._change_policy, self._kill_pod, self._replace_pod, self._control]

    def _any(self, service: str = "", *, mortal: bool = False) -> Pod:
        service = service or self._rnd.choice(tuple(KINDS))
        return self._rnd.choice(
            [pod for pod in self._world.pods if pod.service == service and not (mortal and pod.name in self._kept)]
        )

    async def _kill_app(self) -> None:
        await self._away("app killed", self._any(), self._world.kill_app)

    async def _stop_app(self) -> None:
        await self._away("app stopped", self._any(), self._world.stop_app)

    async def _away(self, what: str, pod: Pod, end: Callable[[Pod], Awaitable[None]]) -> None:
        self._tell(what, pod)
        window = self._ledger.open_window(pod.service)
        await end(pod)
        await asyncio.sleep(self._rnd.uniform(*AWAY_S))
        await self._world.start_app(pod)
        self._ledger.close_window(window)
        self._done(what)

    async def _kill_pod(self) -> None:
        pod = self._any(mortal=True)
        self._tell("app and sidecar killed", pod)
        window = self._ledger.open_window(pod.service)
        await self._world.kill_pod(pod)
        await self._world.add_pod(pod.service)
        self._ledger.close_window(window)
        self._done("app and sidecar killed")

    async def _replace_pod(self) -> None:
        """A new one first, then an orderly end of the old one: nothing may fail by it."""
        pod = self._any(mortal=True)
        self._tell("instance replaced", pod)
        await self._world.add_pod(pod.service)
        self._tell("the new one is known")
        await self._world.retire_pod(pod)
        self._done("instance replaced")

    async def _change_policy(self) -> None:
        self._tell("policies changed")
        await self._world.change_policy(self._rnd.randrange(12))
        self._done("policies changed")

    async def _control(self) -> None:
        self._tell("control killed")
        await self._world.restart_control()
        self._done("control killed")
