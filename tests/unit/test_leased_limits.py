"""What a data path does with leased parts of limits while documents change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from remora.cli.flags import Flags
from remora.model.base import Origin
from remora.model.limits import RateLimit, ServiceLimits
from remora.model.names import ServiceName
from remora.model.shares import QuotaKey
from remora.model.snapshot import Service, Snapshot
from remora.sidecar.cli import make_parser, options
from remora.sidecar.datapath import DataPath
from remora.sidecar.policy.limit import Limit
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

SHOP = ServiceName("shop.default")
KEY: QuotaKey = (SHOP, "shop/all")
LIMIT = RateLimit(SHOP, "shop/all", Origin("RateLimitPolicy", "default", "shop"), 100, scope="service", at_callers=True)


def snapshot(*limits: RateLimit) -> Snapshot:
    return Snapshot(1, {SHOP: Service(SHOP, limits=ServiceLimits(limits))})


@asynccontextmanager
async def caller() -> AsyncIterator[DataPath]:
    path = DataPath(
        options(make_parser(Flags("SIDECAR", {})).parse_args(("run", "--control", "127.0.0.1:1"))), Metrics()
    )
    try:
        yield path
    finally:
        await path.close()


def limits(path: DataPath) -> list[Limit]:
    return [quota.limit for gate in path.mesh.service_gates for quota in gate.quotas()]


async def test_a_limit_that_is_enforced_from_now_on_keeps_its_part() -> None:
    async with caller() as path:
        path.use(snapshot(msgspec.structs.replace(LIMIT, shadow=True)))
        path.lease({KEY: 0.25})
        (shadowed,) = limits(path)
        assert shadowed.share == 0.25
        path.use(snapshot(LIMIT))
        (enforced,) = limits(path)
        assert enforced is not shadowed
        assert enforced.share == 0.25


async def test_one_that_is_not_shared_any_more_is_whole() -> None:
    async with caller() as path:
        path.use(snapshot(LIMIT))
        path.lease({KEY: 0.25})
        path.use(snapshot(msgspec.structs.replace(LIMIT, scope="instance", requests=3, per_s=3600.0)))
        assert limits(path) == []
        (gate,) = path.mesh.service_gates
        head = RequestHead(b"GET", b"/", b"shop", [])
        assert [gate.enter(head, 0.0, 0.0) is None for _ in range(4)] == [True] * 3 + [False]
