"""Playing tables by chance, many at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from random import Random

from tests.differential.policies.asks import Ask, make_ask
from tests.differential.policies.draws import Draws
from tests.differential.policies.explained import explanation
from tests.differential.policies.grpc_tables import make_call, make_grpc_table
from tests.differential.policies.judge import Finding, drawn_by, drew_differently, judge
from tests.differential.policies.play import Side, play
from tests.differential.policies.scenes import run as scenes
from tests.differential.policies.scenes.scene import Finding as SceneFinding
from tests.differential.policies.sides import envoy_side, our_side
from tests.differential.policies.tables import Table, make_table

LANES = 48
TABLES = 120
"""In one configuration."""
GRPC_SHARE = 0.25
"""Of them."""
ASKS = 12
"""Of each table."""
SCENES = 40
"""Played after each configuration of tables."""
REPLAYS = 3
DRAWS = 10
"""How often a request is played at most, until chance has drawn the same backend for both."""

Case = tuple[Table, list[Ask]]


def by_chance(seed: int) -> Iterator[Case]:
    """Without end."""
    random = Random(seed)
    for number in itertools.count():
        if random.random() < GRPC_SHARE:
            table = make_grpc_table(random, f"t{number}")
            yield table, [make_call(random, table) for _ in range(ASKS)]
        else:
            table = make_table(random, f"t{number}")
            yield table, [make_ask(random, table) for _ in range(ASKS)]


@dataclasses.dataclass
class Report:
    """What came of comparing."""

    played: int = 0
    """Requests."""
    found: list[Finding] = dataclasses.field(default_factory=list)
    scenes: int = 0
    """Played."""
    found_in_scenes: list[SceneFinding] = dataclasses.field(default_factory=list)
    our_draws: Draws = dataclasses.field(default_factory=Draws)
    their_draws: Draws = dataclasses.field(default_factory=Draws)


async def compare_by_chance(seed: int, seconds: float) -> Report:
    """Compare for so many seconds, and as long as it takes to end what was begun."""
    source, scene_source = by_chance(seed), scenes.by_chance(seed)
    until = time.monotonic() + seconds
    report = Report()
    while time.monotonic() < until:
        await compare(itertools.islice(source, TABLES), report, until)
        chosen = list(itertools.islice(scene_source, SCENES))
        report.found_in_scenes += await scenes.compare_scenes(chosen)
        report.scenes += len(chosen)
    return report


async def compare(cases: Iterable[Case], report: Report, until: float = float("inf")) -> None:
    """Compare these, in one configuration."""
    chosen = list(cases)
    tables = [table for table, _ in chosen]
    async with our_side(tables) as ours, envoy_side(tables) as envoy:
        await Match(ours, envoy, report, until).play(chosen)


class Match:
    """One configuration of both."""

    def __init__(self, ours: Side, envoy: Side, report: Report, until: float) -> None:
        self._ours = ours
        self._envoy = envoy
        self._report = report
        self._until = until
        self._suspects: list[tuple[Table, Ask, bytes]] = []

    async def play(self, cases: Iterable[Case]) -> None:
        waiting = iter(cases)
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane(waiting))
        # What nobody can explain is played again when all is quiet: the machine may have been slow.
        for suspect in self._suspects:
            for _ in range(REPLAYS):
                findings = await self._compare(*suspect)
                if all(explanation(finding) for finding in findings):
                    break
            self._report.found += [finding for finding in findings if not finding.is_void]

    async def _lane(self, waiting: Iterator[Case]) -> None:
        for table, asks in waiting:
            for number, ask in enumerate(asks):
                if time.monotonic() > self._until:
                    return
                await self._look(table, ask, f"{table.service}.{number}".encode())

    async def _look(self, table: Table, ask: Ask, case: bytes) -> None:
        findings = await self._compare(table, ask, case)
        self._report.played += 1
        if all(explanation(finding) is not None for finding in findings):
            self._report.found += findings
        else:
            self._suspects.append((table, ask, case))

    async def _compare(self, table: Table, ask: Ask, case: bytes) -> list[Finding]:
        for _ in range(DRAWS):
            us, them = await asyncio.gather(play(self._ours, table, case, ask), play(self._envoy, table, case, ask))
            self._report.our_draws.add(*drawn_by(table, us))
            self._report.their_draws.add(*drawn_by(table, them))
            if not drew_differently(table, us, them):
                return judge(table, ask, us, them)
        return []
