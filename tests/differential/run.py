"""Playing a corpus and its mutations through both proxies, many lanes at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from fuzz.mutation import Mutator
from fuzz.seeds import REQUESTS, WORDS
from tests.differential.compare import HTTP1, Dialect, Finding, compare
from tests.differential.corpus import ATTACKS, SMUGGLED
from tests.differential.proxies import envoy_lanes, our_lanes

LANES = 12


def curated() -> list[bytes]:
    """The attacks, alone and with a request behind them, and the requests that are in order."""
    attacks = [data for attacks in ATTACKS.values() for data in attacks.values()]
    return [*REQUESTS, *attacks, *(data + SMUGGLED for data in attacks)]


def mutations(seed: int) -> Iterator[bytes]:
    """Without end."""
    mutator = Mutator(curated(), WORDS, seed)
    while True:
        yield mutator.next()


async def differences(cases: Iterable[bytes], seconds: float, dialect: Dialect = HTTP1) -> tuple[int, list[Finding]]:
    """How many cases were played in `seconds`, and what was found."""
    source = iter(cases)
    until = time.monotonic() + seconds
    found: list[Finding] = []
    played = 0
    async with our_lanes(LANES) as ours, envoy_lanes(LANES) as envoys:

        async def play(index: int) -> None:
            nonlocal played
            while time.monotonic() < until:
                data = next(source, None)
                if data is None:
                    return
                finding = await compare(ours[index], envoys[index], data, dialect)
                played += 1
                if finding is not None:
                    found.append(finding)

        await asyncio.gather(*(play(index) for index in range(LANES)))
    return played, found
