"""Playing tables by chance, many at a time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator
from random import Random

from tests.differential.policies.asks import Ask, make_ask
from tests.differential.policies.judge import Finding, judge
from tests.differential.policies.play import Side, play
from tests.differential.policies.sides import envoy_side, our_side
from tests.differential.policies.tables import Table, make_table

LANES = 8
TABLES = 120
"""In one configuration."""
ASKS = 12
"""Of each table."""

Case = tuple[Table, list[Ask]]


def by_chance(seed: int) -> Iterator[Case]:
    """Without end."""
    random = Random(seed)
    for number in itertools.count():
        table = make_table(random, f"t{number}")
        yield table, [make_ask(random, table) for _ in range(ASKS)]


async def differences(seed: int, seconds: float) -> tuple[int, list[Finding]]:
    """How many requests were compared in `seconds`, and what was found."""
    source = by_chance(seed)
    until = time.monotonic() + seconds
    played, found = 0, list[Finding]()
    while time.monotonic() < until:
        some, findings = await compare(itertools.islice(source, TABLES), until)
        played += some
        found += findings
    return played, found


async def compare(cases: Iterable[Case], until: float = float("inf")) -> tuple[int, list[Finding]]:
    """How many requests of these were compared, and what was found."""
    chosen = list(cases)
    tables = [table for table, _ in chosen]
    found: list[Finding] = []
    played = 0
    waiting = iter(chosen)
    async with our_side(tables) as ours, envoy_side(tables) as envoy:

        async def lane() -> None:
            nonlocal played
            for table, asks in waiting:
                for number, ask in enumerate(asks):
                    if time.monotonic() > until:
                        return
                    finding = await _compare(ours, envoy, table, ask, f"{table.service}.{number}".encode())
                    played += 1
                    if finding is not None:
                        found.append(finding)

        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(lane())
    return played, found


async def _compare(ours: Side, envoy: Side, table: Table, ask: Ask, case: bytes) -> Finding | None:
    """A finding that has shown itself twice: the machine may have been slow."""
    finding = None
    for _ in range(2):
        us, them = await asyncio.gather(play(ours, table.service, case, ask), play(envoy, table.service, case, ask))
        finding = judge(table, ask, us, them)
        if finding is None:
            return None
    return finding
