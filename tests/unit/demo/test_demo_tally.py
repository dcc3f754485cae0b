"""What the demo counts, and how it waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from demo.tally import Answer, Kind, Tally


def tally(tmp_path: Path) -> Tally:
    return Tally(tmp_path / "failures.log")


async def test_counts_by_kind_and_logs_every_failure_in_full(tmp_path: Path) -> None:
    counted = tally(tmp_path)
    counted.succeeded(Kind.PRICE, 0.0, [Answer("prices", "v1", "prices-1")])
    counted.failed(Kind.PRICE, 0.0, "GetPrice: UNAVAILABLE: x-mesh-error no_healthy_endpoint")
    counted.failed(Kind.PAGE, 0.0, "status 503")
    assert (counted.requests, counted.failures) == (3, 2)
    assert (counted.kinds[Kind.PRICE].requests, counted.kinds[Kind.PRICE].failures) == (2, 1)
    lines = counted.failures_log.read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("GetPrice: UNAVAILABLE: x-mesh-error no_healthy_endpoint")
    assert counted.last == lines[1]


async def test_shares_are_of_answers_to_requests_that_began_after_a_moment(tmp_path: Path) -> None:
    counted = tally(tmp_path)
    for started, version in ((1.0, "v1"), (2.0, "v1"), (3.0, "v2"), (4.0, "v2")):
        counted.succeeded(Kind.REVIEWS, started, [Answer("reviews", version, f"reviews-{version}")])
    assert counted.versions("reviews", 0.0, 100) == {"v1": 2, "v2": 2}
    assert counted.versions("reviews", 2.5, 100) == {"v2": 2}
    assert counted.versions("reviews", 0.0, 3) == {"v1": 1, "v2": 2}
    assert counted.instances("prices", 0.0, 100) == {}


async def test_until_returns_as_soon_as_it_holds(tmp_path: Path) -> None:
    counted = tally(tmp_path)
    waiting = asyncio.create_task(counted.until(lambda: counted.requests == 2, timeout=10))
    for _ in range(2):
        await asyncio.sleep(0)
        assert not waiting.done()
        counted.succeeded(Kind.PAGE, 0.0, [])
    assert await waiting


async def test_until_gives_up(tmp_path: Path) -> None:
    assert not await tally(tmp_path).until(lambda: False, timeout=0.01)


async def test_quantiles(tmp_path: Path) -> None:
    kind = tally(tmp_path).kinds[Kind.PAGE]
    assert kind.quantile_ms(0.5) == 0.0
    kind.seconds.extend(number / 1000 for number in range(100, 0, -1))
    assert (kind.quantile_ms(0.5), kind.quantile_ms(0.99), kind.quantile_ms(1.0)) == (51.0, 100.0, 100.0)
