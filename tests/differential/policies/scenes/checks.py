"""Active health checks: who fails them gets no requests, until it passes them again; what passes; what happens when too
few do."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from random import Random

from tests.differential.policies.asks import Act
from tests.differential.policies.scenes.scene import DEADLINE_S, Actor, Cast, Notes, Scene, at_once, policy, told, until
from tests.differential.policies.stage import Arrival

_PATH = "/well"
_STATUSES = (200, 204, 301, 404, 429, 500, 503)
_OFTEN_MS = 40
_SELDOM_MS = 150
"""Between two checks there is time to see who gets requests."""

After = tuple[int, int]
"""So many good checks, or bad ones, in a row."""


def make_check_scene(random: Random, service: str) -> Scene:
    """Who gets requests, as checks are answered."""
    endpoints = random.randint(2, 4)
    first, last = random.choice(((200, 399), (200, 299), (404, 404)))
    after = random.randint(1, 3), random.randint(1, 3)
    panic = random.choice((0, 50))
    phases = [[random.choice(_STATUSES) for _ in range(endpoints)] for _ in range(3)]

    async def play(cast: Cast) -> Notes:
        return [await _look(cast, statuses, 2 * max(after) + 2) for statuses in phases]

    drawn = f"{first} to {last} is well, after {after}, panic {panic}, {phases}"
    frame = Scene("checks", service, drawn, (), play, endpoints=endpoints)
    return _checking(frame, (first, last), after, panic, _OFTEN_MS)


def make_threshold_scene(random: Random, service: str) -> Scene:
    """After how many checks one of two endpoints gets no more requests, and after how many it does again."""
    after = random.randint(1, 4), random.randint(1, 4)

    async def play(cast: Cast) -> Notes:
        settled = await _look(cast, (200, 200), 1)
        return [settled, f"out {await _turn(cast, 500)}", f"in use {await _turn(cast, 200)}"]

    frame = Scene("thresholds", service, f"after {after}", (), play, endpoints=2)
    return _checking(frame, (200, 299), after, 0, _SELDOM_MS)


def _checking(scene: Scene, well: tuple[int, int], after: After, panic: int, interval_ms: int) -> Scene:
    """`scene` with checks."""
    health = {
        "type": "HTTP",
        "path": _PATH,
        "interval": f"{interval_ms}ms",
        "timeout": "1s",
        "healthyAfter": after[0],
        "unhealthyAfter": after[1],
        "statuses": {"first": well[0], "last": well[1]},
    }
    interval = f"{interval_ms / 1000}s"
    check = {
        "timeout": "1s",
        "interval": interval,
        "no_traffic_interval": interval,
        "healthy_threshold": after[0],
        "unhealthy_threshold": after[1],
        "http_health_check": {
            "path": _PATH,
            "expected_statuses": [{"start": well[0], "end": well[1] + 1}],
            # Any other fails a host at the first check.
            "retriable_statuses": [{"start": 100, "end": 600}],
        },
    }
    balancer = {"type": "RoundRobin", "panicThreshold": panic}
    return dataclasses.replace(
        scene,
        documents=(policy(scene.service, health=health, balancer=balancer),),
        cluster={"lb_policy": "ROUND_ROBIN", "health_checks": [check], "common_lb_config": at_once(panic)},
    )


async def _turn(cast: Cast, status: int) -> str:
    """Answer checks of the first endpoint by `status` until it shows, and say after how many it does."""
    subject = cast.actors[0]
    asked = _checks(subject)
    subject.act = _answering(status)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            before = _requests(subject)
            for _ in range(2 * len(cast.actors)):
                await cast.ask()
            if (_requests(subject) > before) == (status == 200):
                return f"after {_checks(subject) - asked} checks"


async def _look(cast: Cast, statuses: Sequence[int], checks: int) -> str:
    """Who gets requests when checks are answered so."""
    for actor, status in zip(cast.actors, statuses, strict=True):
        actor.act = _answering(status)
    seen = [len(actor.arrivals) for actor in cast.actors]
    await until(
        lambda: all(len(actor.arrivals) - count >= checks for actor, count in zip(cast.actors, seen, strict=True))
    )
    before = [_requests(actor) for actor in cast.actors]
    answers = {told(await cast.ask()) for _ in range(3 * len(statuses))}
    used = [number for number, actor in enumerate(cast.actors) if _requests(actor) > before[number]]
    return f"{statuses}: used {used}, told {sorted(answers)}"


def _answering(status: int) -> Callable[[Arrival], Act]:
    return lambda arrival: Act(status=status if arrival.target == _PATH.encode() else 200)


def _checks(actor: Actor) -> int:
    return len(actor.arrivals) - _requests(actor)


def _requests(actor: Actor) -> int:
    return sum(arrival.target != _PATH.encode() for arrival in actor.arrivals)
