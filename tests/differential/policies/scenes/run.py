"""Playing scenes at both proxies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from random import Random

from tests.differential.policies.scenes.budgets import make_budget_scene
from tests.differential.policies.scenes.caps import make_cap_scene
from tests.differential.policies.scenes.checks import make_check_scene, make_threshold_scene
from tests.differential.policies.scenes.ejection import make_ejection_scene, make_return_scene
from tests.differential.policies.scenes.faults import make_fault_scene
from tests.differential.policies.scenes.hashing import make_affinity_scene, make_hashing_scene
from tests.differential.policies.scenes.limits import make_limit_scene
from tests.differential.policies.scenes.scene import Cast, Finding, Notes, Scene, at_envoy, at_ours
from tests.differential.policies.scenes.sessions import make_session_scene

KINDS: tuple[Callable[[Random, str], Scene], ...] = (
    make_affinity_scene,
    make_budget_scene,
    make_cap_scene,
    make_check_scene,
    make_ejection_scene,
    make_fault_scene,
    make_hashing_scene,
    make_limit_scene,
    make_return_scene,
    make_session_scene,
    make_threshold_scene,
)
LANES = 8
"""Scenes at a time."""
REPLAYS = 3
DEADLINE_S = 60


def by_chance(seed: int) -> Iterator[Scene]:
    """Without end, of every kind in turn."""
    random = Random(seed)
    for number, make in enumerate(itertools.cycle(KINDS)):
        yield make(random, f"s{number}")


async def compare_scenes(scenes: Sequence[Scene]) -> list[Finding]:
    """What differs. What nobody can explain is played again, alone: the machine may have been slow."""
    return [finding for first in await _play(scenes) if (finding := await _replayed(first)) is not None]


async def _replayed(finding: Finding | None) -> Finding | None:
    for _ in range(REPLAYS):
        if finding is None or finding.explanation:
            break
        finding = (await _play([finding.scene]))[0]
    return finding


async def _play(scenes: Sequence[Scene]) -> list[Finding | None]:
    places = asyncio.Semaphore(LANES)

    async def look(scene: Scene, ours: Cast, theirs: Cast) -> Finding | None:
        async with places:
            notes = await asyncio.gather(_notes(scene, ours), _notes(scene, theirs))
        finding = Finding(scene, *notes)
        return finding if finding.ours != finding.theirs or not finding.is_lawful else None

    async with at_ours(scenes) as ours, at_envoy(scenes) as theirs:
        return await asyncio.gather(*map(look, scenes, ours, theirs))


async def _notes(scene: Scene, cast: Cast) -> Notes:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await scene.play(cast)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
