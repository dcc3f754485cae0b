"""Caps on what a service may take: how many requests are let through at once, how many wait, who is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from tests.differential.policies.asks import Act
from tests.differential.policies.play import Outcome
from tests.differential.policies.scenes.scene import DEADLINE_S, Cast, Notes, Scene, asking, policy, told, until

_ROUNDS = 2
"""What was taken in the first is given back for the second."""


def make_cap_scene(random: Random, service: str) -> Scene:
    endpoints = random.randint(1, 3)
    if random.random() < 0.5:
        return _requests(service, random.randint(1, 6), random.randint(1, 4), random.random() < 0.6, endpoints)
    return _connections(
        service, endpoints + random.randint(0, 3), random.randint(1, 4), random.randint(1, 4), endpoints
    )


def _requests(service: str, most: int, more: int, leaving: bool, endpoints: int) -> Scene:
    async def play(cast: Cast) -> Notes:
        return [note for _ in range(_ROUNDS) for note in await _round(cast)]

    async def _round(cast: Cast) -> Notes:
        async with asking() as tasks:
            _hold(cast)
            begun = cast.arrived
            for _ in range(most + more):
                await _send_one(cast, tasks)
            notes = [f"{cast.arrived - begun} in flight, refused {_statuses(tasks)}"]
            if leaving:
                notes.append(await _leave(cast, tasks))
            await _answer(cast, tasks)
            return [*notes, f"in the end {_statuses(tasks)}"]

    async def _leave(cast: Cast, tasks: list[asyncio.Task[Outcome]]) -> str:
        """One client goes away, and there is room for another."""
        tasks.pop(0).cancel()
        before = cast.arrived
        async with asyncio.timeout(DEADLINE_S):
            while cast.arrived == before:
                await _send_one(cast, tasks)
                if cast.arrived == before:
                    tasks.pop()
        return "one for one that left"

    return Scene(
        "caps",
        service,
        f"{most} requests, {more} more, {endpoints} endpoints" + ", one leaves" * leaving,
        (policy(service, limits={"requests": most}, balancer={"type": "RoundRobin"}),),
        play,
        cluster=_thresholds(max_requests=most),
        endpoints=endpoints,
    )


def _connections(service: str, most: int, waiting: int, more: int, endpoints: int) -> Scene:
    async def play(cast: Cast) -> Notes:
        # With several endpoints it is chance which of them has the connections of the first round.
        rounds = _ROUNDS if endpoints == 1 else 1
        return [note for _ in range(rounds) for note in await _round(cast)]

    async def _round(cast: Cast) -> Notes:
        async with asking() as tasks:
            _hold(cast)
            begun = cast.arrived
            for _ in range(most):
                await _send_one(cast, tasks)
            tasks += [asyncio.ensure_future(cast.ask()) for _ in range(waiting + more)]
            await until(lambda: _over(tasks) == more)
            refused = _statuses(tasks)
            in_flight = cast.arrived - begun
            await _answer(cast, tasks)
            arrived = cast.arrived - begun
            return [f"{in_flight} in flight, refused {refused}", f"{arrived} arrived, in the end {_statuses(tasks)}"]

    return Scene(
        "caps",
        service,
        f"{most} connections, {waiting} waiting, {more} more, {endpoints} endpoints",
        (policy(service, limits={"connections": most, "pending": waiting}, balancer={"type": "RoundRobin"}),),
        play,
        cluster=_thresholds(max_connections=most, max_pending_requests=waiting),
        endpoints=endpoints,
    )


def _thresholds(**limits: int) -> dict[str, object]:
    return {"lb_policy": "ROUND_ROBIN", "circuit_breakers": {"thresholds": [{"max_retries": 1000, **limits}]}}


async def _send_one(cast: Cast, tasks: list[asyncio.Task[Outcome]]) -> None:
    """One more; it is held upstream or refused by then."""
    before = cast.arrived + _over(tasks)
    tasks.append(asyncio.ensure_future(cast.ask()))
    await until(lambda: cast.arrived + _over(tasks) > before)


def _hold(cast: Cast) -> None:
    for actor in cast.actors:
        actor.act = lambda _: Act("hold")


async def _answer(cast: Cast, tasks: Sequence[asyncio.Task[Outcome]]) -> None:
    """Answer what is held, and what comes."""
    for actor in cast.actors:
        actor.act = lambda _: Act()
        actor.release()
    await asyncio.wait(tasks)


def _over(tasks: Sequence[asyncio.Task[Outcome]]) -> int:
    return sum(task.done() for task in tasks)


def _statuses(tasks: Sequence[asyncio.Task[Outcome]]) -> str:
    found = Counter(told(task.result()) for task in tasks if task.done() and not task.cancelled())
    return ", ".join(f"{count} of {status}" for status, count in sorted(found.items())) or "none"
