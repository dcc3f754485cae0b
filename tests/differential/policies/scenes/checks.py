"""Active health checks: who fails them gets no requests, until it passes them again; what passes; what happens when too
few do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.differential.policies.asks import Act
from tests.differential.policies.scenes.scene import Actor, Cast, Notes, Scene, at_once, policy, told, until
from tests.differential.policies.stage import Arrival

_PATH = "/well"
_INTERVAL = "40ms"
_INTERVAL_S = "0.04s"
_STATUSES = (200, 204, 301, 404, 429, 500, 503)


def make_check_scene(random: Random, service: str) -> Scene:
    endpoints = random.randint(2, 4)
    first, last = random.choice(((200, 399), (200, 299), (404, 404)))
    after = random.randint(1, 3), random.randint(1, 3)
    panic = random.choice((0, 50))
    phases = [[random.choice(_STATUSES) for _ in range(endpoints)] for _ in range(3)]

    async def play(cast: Cast) -> Notes:
        return [await _look(cast, statuses, 2 * max(after) + 2) for statuses in phases]

    health = {
        "type": "HTTP",
        "path": _PATH,
        "interval": _INTERVAL,
        "timeout": "1s",
        "healthyAfter": after[0],
        "unhealthyAfter": after[1],
        "statuses": {"first": first, "last": last},
    }
    check = {
        "timeout": "1s",
        "interval": _INTERVAL_S,
        "no_traffic_interval": _INTERVAL_S,
        "healthy_threshold": after[0],
        "unhealthy_threshold": after[1],
        "http_health_check": {"path": _PATH, "expected_statuses": [{"start": first, "end": last + 1}]},
    }
    return Scene(
        "checks",
        service,
        f"{first} to {last} is well, after {after}, panic {panic}, {phases}",
        (policy(service, health=health, balancer={"type": "RoundRobin", "panicThreshold": panic}),),
        play,
        cluster={
            "lb_policy": "ROUND_ROBIN",
            "health_checks": [check],
            "common_lb_config": at_once(panic),
        },
        endpoints=endpoints,
    )


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


def _requests(actor: Actor) -> int:
    return sum(arrival.target != _PATH.encode() for arrival in actor.arrivals)
