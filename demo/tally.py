"""What became of the demo's requests: counts by kind, and who answered lately."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

RECENT_ANSWERS = 5_000
RECENT_LATENCIES = 50_000


class Kind(StrEnum):
    """Kinds of requests, by what travels through the mesh."""

    PAGE = "HTTP: shop, which calls reviews and prices"
    REVIEWS = "HTTP: reviews"
    PRICE = "gRPC unary: prices"
    WATCH = "gRPC server stream: quotes"
    ORDERS = "gRPC client stream: quotes"
    HAGGLE = "gRPC bidirectional stream: quotes"


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered a request that started at `started` (monotonic seconds)."""

    service: str
    version: str
    instance: str
    started: float = 0.0


@dataclass(slots=True)
class KindTally:
    """Requests of one kind that have ended."""

    requests: int = 0
    failures: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_LATENCIES))

    def quantile_ms(self, share: float) -> float:
        """The latency that `share` of the requests stayed below, in milliseconds; 0 without requests."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


class Tally:
    """Counts what the load generator reports; every failure goes to a file with all that is known of it."""

    def __init__(self, failures_log: Path) -> None:
        self.kinds = {kind: KindTally() for kind in Kind}
        self.failures_log = failures_log
        self.last = "none"
        """The last failure, in words."""
        self._answers: deque[Answer] = deque(maxlen=RECENT_ANSWERS)
        self._news = asyncio.Event()
        failures_log.write_text("")

    @property
    def requests(self) -> int:
        """All requests that have ended."""
        return sum(kind.requests for kind in self.kinds.values())

    @property
    def failures(self) -> int:
        """Those that failed."""
        return sum(kind.failures for kind in self.kinds.values())

    def succeeded(self, kind: Kind, started: float, answers: Sequence[Answer]) -> None:
        """A request was answered as it should be, by these."""
        tally = self.kinds[kind]
        tally.requests += 1
        tally.seconds.append(time.monotonic() - started)
        self._answers.extend(Answer(answer.service, answer.version, answer.instance, started) for answer in answers)
        self._news.set()

    def failed(self, kind: Kind, started: float, detail: str) -> None:
        """A request was not."""
        tally = self.kinds[kind]
        tally.requests += 1
        tally.failures += 1
        took = time.monotonic() - started
        line = f"{time.strftime('%H:%M:%S')} {kind.value}: after {took * 1000:.0f} ms: {detail}"
        self.last = line
        with self.failures_log.open("a") as log:
            log.write(line + "\n")
        self._news.set()

    def answers(self, service: str, since: float) -> list[Answer]:
        """Those of `service` to requests that started after `since`, oldest first."""
        return [answer for answer in self._answers if answer.service == service and answer.started >= since]

    def versions(self, service: str, since: float, last: int) -> Counter[str]:
        """How many of the last answers each version gave."""
        return Counter(answer.version for answer in self.answers(service, since)[-last:])

    def instances(self, service: str, since: float, last: int) -> Counter[str]:
        """How many of the last answers each instance gave."""
        return Counter(answer.instance for answer in self.answers(service, since)[-last:])

    async def until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Waits until it holds, asking after each request; False when that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True
