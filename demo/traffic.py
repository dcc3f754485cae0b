"""What goes where, from the metrics of the sidecars."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from demo.mesh import Pod

SCRAPE_TIMEOUT_S = 2.0
GOOD_STATUSES = ("1xx", "2xx", "3xx", "4xx", "OK", "NOT_FOUND")


@dataclass(slots=True)
class Scrape:
    """The counters of one sidecar at one time. `inbound` is what came to its app, `retries` what it tried again."""

    at: float
    requests: int = 0
    failures: int = 0
    retries: int = 0
    buckets: Counter[float] = field(default_factory=Counter)
    """Inbound requests that took at most so many seconds."""

    def median_s(self, before: Scrape) -> float:
        """Upper bound of the bucket with the median of the requests since `before`, in seconds; 0 without any."""
        counts = {bound: count - before.buckets[bound] for bound, count in self.buckets.items()}
        total = max(counts.values(), default=0)
        if not total:
            return 0.0
        return min(bound for bound, count in counts.items() if count * 2 >= total)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: an instance, and what its sidecar counted lately."""

    service: str
    version: str
    name: str
    alive: bool
    requests: int
    """Since its start; so are failures."""
    failures: int
    requests_per_s: float
    p50_ms: float


class Traffic:
    """Scrapes sidecars and says what happened between two scrapes."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._last: dict[str, Scrape] = {}
        self._rows: dict[str, Row] = {}

    async def rows(self, pods: Iterable[Pod]) -> list[Row]:
        """A row for each pod, from what was counted since the call before."""
        return list(await asyncio.gather(*(self._row(pod) for pod in pods)))

    async def totals(self, pods: Iterable[Pod]) -> list[Row]:
        """A row for each pod, from all that was counted since its start."""
        self._last.clear()
        return await self.rows(pods)

    async def retries(self, metrics: Iterable[str]) -> int:
        """How many retries the sidecars with these metrics pages have made; those that are gone count nothing."""
        scrapes = await asyncio.gather(*(self._scrape(address) for address in metrics))
        return sum(scrape.retries for scrape in scrapes if scrape is not None)

    async def _row(self, pod: Pod) -> Row:
        before = self._last.get(pod.name, Scrape(time.monotonic() - 1))
        now = await self._scrape(pod.metrics) if pod.running else None
        if now is None:
            return Row(pod.service, pod.version, pod.name, False, before.requests, before.failures, 0.0, 0.0)
        self._last[pod.name] = now
        rate = (now.requests - before.requests) / max(now.at - before.at, 1e-3)
        p50 = now.median_s(before) * 1000
        return Row(pod.service, pod.version, pod.name, True, now.requests, now.failures, rate, p50)

    async def _scrape(self, address: str) -> Scrape | None:
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        try:
            async with self._session.get(f"http://{address}/metrics", timeout=timeout) as response:
                return parse(await response.text(), time.monotonic())
        except (aiohttp.ClientError, TimeoutError):
            return None


def parse(text: str, at: float) -> Scrape:
    """The counters in a metrics page."""
    scrape = Scrape(at)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            _count(scrape, sample.name, sample.labels, sample.value)
    return scrape


def _count(scrape: Scrape, name: str, labels: Mapping[str, str], value: float) -> None:
    if name == "mesh_retries_total":
        scrape.retries += int(value)
    if labels.get("direction") != "inbound":
        return
    if name == "mesh_requests_total":
        scrape.requests += int(value)
        scrape.failures += 0 if labels["status"] in GOOD_STATUSES else int(value)
    elif name == "mesh_request_duration_seconds_bucket":
        scrape.buckets[float(labels["le"])] += int(value)
