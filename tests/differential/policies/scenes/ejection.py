"""Outlier ejection: after how many failures an endpoint gets no more requests, what counts as one, who may not be
ejected, what happens when too few are left, and when it comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from random import Random

from tests.differential.policies.asks import Act
from tests.differential.policies.scenes.scene import (
    Actor,
    Cast,
    Meant,
    Notes,
    Scene,
    at_once,
    call,
    ejecting,
    get,
    outlier_detection,
    policy,
    told,
)
from tests.differential.policies.stage import Arrival
from tests.differential.policies.tables import Document
from tests.differential.policies.translate import Config

OF_THE_CALL = "What says something of a call says nothing of its server"
BY_TRAILERS = "Trailers tell how a call went"
_GOOD = (Act(), Act(status=404), Act(status=429))
_BAD = (Act(status=500), Act(status=503), Act(status=599), Act("reset"), Act("close"))
_GRPC_GOOD = (Act("trailers only", 0), Act("trailers only", 5), Act("trailers only", 8), Act("answer"))
_GRPC_BAD = (Act("trailers only", 14), Act("trailers only", 13), Act("trailers only", 4), Act("reset"))
_OF_THE_CALL = (Act("trailers only", 2), Act("trailers only", 12))
"""UNKNOWN and UNIMPLEMENTED."""

_BASE_S = 1
_PAUSE_S = 0.05

Script = tuple[Act, ...]
"""What an endpoint does, again and again from the beginning."""


def make_ejection_scene(random: Random, service: str) -> Scene:
    grpc = random.random() < 0.3
    endpoints, failures = random.randint(2, 5), random.randint(1, 4)
    if grpc and random.random() < 0.4:
        make = random.choice((of_the_call_scene, by_trailers_scene))
        return make(service, failures)
    scripts = [_script(random, grpc, failures) for _ in range(random.randint(1, endpoints))]
    return _ejection_scene(service, failures, endpoints, random.choice((0, 50)), scripts, grpc)


def of_the_call_scene(service: str, failures: int) -> Scene:
    """With endpoints that always answer what says something of the call, not of who answers."""
    scene = _ejection_scene(service, failures, 3, 0, [(act,) for act in _OF_THE_CALL], True)
    return dataclasses.replace(scene, meant=Meant(OF_THE_CALL, [_note(number, 0, False) for number in range(3)]))


def by_trailers_scene(service: str, failures: int) -> Scene:
    """With an endpoint that says only in trailers that it has failed."""
    scene = _ejection_scene(service, failures, 3, 0, [(Act("trailers", 14),)], True)
    notes = [_note(0, failures, True), _note(1, 0, False), _note(2, 0, False)]
    return dataclasses.replace(scene, meant=Meant(BY_TRAILERS, notes))


def _ejection_scene(
    service: str, failures: int, endpoints: int, panic: int, scripts: Sequence[Script], grpc: bool
) -> Scene:
    rounds = max(map(len, scripts)) + failures + 1
    ask = call(service) if grpc else get(service)

    async def play(cast: Cast) -> Notes:
        for actor, script in zip(cast.actors, scripts, strict=False):
            actor.act = _playing(actor, script)
        for _ in range(rounds * endpoints):
            await cast.ask(ask)
        counts = [len(actor.arrivals) for actor in cast.actors]
        statuses = {told(await cast.ask(ask)) for _ in range(3 * endpoints)}
        gone = [len(actor.arrivals) == count for actor, count in zip(cast.actors, counts, strict=True)]
        notes = [_note(number, *pair) for number, pair in enumerate(zip(counts, gone, strict=True))]
        # While all but failing ones are out, it is chance where in its script one is.
        return notes if not all(gone) else [*notes, f"refused {sorted(statuses)}"]

    return Scene(
        "ejection",
        service,
        f"{failures} failures, panic {panic}, {endpoints} endpoints, {[list(map(str, script)) for script in scripts]}",
        (_policy(service, failures, "1h", panic),),
        play,
        cluster=_cluster(failures, "3600s", panic),
        endpoints=endpoints,
        protocol="grpc" if grpc else "http1",
    )


def _note(number: int, count: int, is_out: bool) -> str:
    return f"endpoint {number}: " + (f"out after {count}" if is_out else "in use")


def make_return_scene(random: Random, service: str) -> Scene:
    """One endpoint fails, is out, comes back, fails again and is out for twice as long."""
    endpoints = random.randint(2, 4)

    async def play(cast: Cast) -> Notes:
        bad = cast.actors[0]
        bad.act = lambda _: Act(status=503)
        notes = []
        for failures in (1, 2):
            while len(bad.arrivals) < failures:
                await cast.ask()
            began = time.monotonic()
            while len(bad.arrivals) == failures:
                await cast.ask()
                await asyncio.sleep(_PAUSE_S)
            notes.append(f"out for {round((time.monotonic() - began) / _BASE_S)} times the base")
        return notes

    return Scene(
        "return",
        service,
        f"{endpoints} endpoints",
        (_policy(service, 1, f"{_BASE_S}s", 0),),
        play,
        cluster=_cluster(1, f"{_BASE_S}s", 0),
        endpoints=endpoints,
    )


def _script(random: Random, grpc: bool, failures: int) -> Script:
    good, bad = (_GRPC_GOOD, _GRPC_BAD) if grpc else (_GOOD, _BAD)
    if random.random() < 0.4:
        return (random.choice(bad),) * failures
    return tuple(random.choice(bad if random.random() < 0.6 else good) for _ in range(random.randint(1, 8)))


def _playing(actor: Actor, script: Script) -> Callable[[Arrival], Act]:
    return lambda _: script[(len(actor.arrivals) - 1) % len(script)]


def _policy(service: str, failures: int, base: str, panic: int) -> Document:
    balancer = {"type": "RoundRobin", "panicThreshold": panic}
    return policy(service, outlier=ejecting(failures, base), balancer=balancer)


def _cluster(failures: int, base: str, panic: int) -> Config:
    return {
        "lb_policy": "ROUND_ROBIN",
        "outlier_detection": outlier_detection(failures, base),
        "common_lb_config": at_once(panic),
    }
