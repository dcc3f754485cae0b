"""Retry budgets: of many requests that fail at once, how many are tried again."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from tests.differential.policies.asks import Act
from tests.differential.policies.scenes.scene import Cast, Meant, Notes, Scene, asking, get, policy, until
from tests.differential.policies.stage import Arrival

DIFFERENCE = "A retry budget does not count retries as requests"
_WHO = b"x-who"
_ROUNDS = 2
"""What was taken in the first is given back for the second."""


def make_budget_scene(random: Random, service: str) -> Scene:
    minimum, percent = random.choice(((random.randint(0, 12), 0), (0, 100), (0, random.randint(10, 100))))
    return budget_scene(service, random.randint(8, 20), minimum, percent)


def budget_scene(service: str, requests: int, minimum: int, percent: int) -> Scene:
    async def play(cast: Cast) -> Notes:
        return [await _round(cast, requests) for _ in range(_ROUNDS)]

    retry = {
        "attempts": 1,
        "backoff": {"base": "1ms", "max": "2ms"},
        "budget": {"percent": percent, "minimum": minimum, "minimumPerSecond": 1000},
    }
    budget = {"budget_percent": {"value": percent}, "min_retry_concurrency": minimum}
    return Scene(
        "budget",
        service,
        f"{requests} requests, {percent} %, at least {minimum}",
        (policy(service, retry=retry),),
        play,
        action={
            "retry_policy": {
                "retry_on": "retriable-status-codes",
                "retriable_status_codes": [503],
                "num_retries": 1,
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
            }
        },
        cluster={"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}},
        endpoints=2,
        meant=Meant(DIFFERENCE, [_note(retried := _ours(requests, percent), retried)] * _ROUNDS) if percent else None,
    )


async def _round(cast: Cast, requests: int) -> str:
    """So many at once. Their first attempts wait for each other and fail; the second ones wait for their answers."""
    seen: Counter[bytes] = Counter()

    def act(arrival: Arrival) -> Act:
        who = dict(arrival.fields)[_WHO]
        seen[who] += 1
        return Act("hold", 503 if seen[who] == 1 else 200)

    for actor in cast.actors:
        actor.act = act
    begun = cast.arrived
    asks = [get(cast.service, (_WHO.decode(), str(number))) for number in range(requests)]
    async with asking(*map(cast.ask, asks)) as tasks:
        await until(lambda: cast.arrived == begun + requests)
        _release(cast)
        await until(lambda: cast.arrived - begun - requests + sum(task.done() for task in tasks) == requests)
        retried = cast.arrived - begun - requests
        _release(cast)
        await asyncio.wait(tasks)
        return _note(retried, sum(task.result().status == 200 for task in tasks))


def _note(retried: int, well: int) -> str:
    return f"{retried} tried again, {well} went well"


def _ours(requests: int, percent: int) -> int:
    """How many are tried again by what the manual says: they are so many percent of those that are not, at most.
    One fails after the other; those that have failed for good are gone."""
    retried = 0
    for failed in range(1, requests + 1):
        if retried < percent * (requests - failed) // 100:
            retried += 1
    return retried


def _release(cast: Cast) -> None:
    for actor in cast.actors:
        actor.release()
