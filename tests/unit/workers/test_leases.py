"""How workers share limits."""

from __future__ import annotations

from random import Random

import pytest

from remora.model.base import Origin
from remora.model.limits import LimitKey, LimitScope, RateLimit
from remora.model.names import ServiceName
from remora.model.shares import QuotaKey
from remora.sidecar.policy.limit import Limit
from remora.sidecar.workers.leases import Leases

KEY: QuotaKey = ("shop.default", "shop/all")


def limit(requests: int = 100, *, scope: LimitScope = "instance", **fields: object) -> RateLimit:
    origin = Origin("RateLimitPolicy", "default", "shop")
    return RateLimit(ServiceName(KEY[0]), KEY[1], origin, requests, scope=scope, **fields)  # type: ignore[arg-type]


def leases(followed: RateLimit, workers: int = 2) -> Leases:
    found = Leases(workers)
    found.follow({KEY: followed})
    return found


def test_parts_follow_what_is_needed_and_are_the_whole() -> None:
    shared = leases(limit())
    for _ in range(20):
        shared.reported(0, {KEY: 900}, 1.0)
        shared.reported(1, {KEY: 10}, 1.0)
    parts = [shared.news(worker)[KEY] for worker in range(2)]
    assert sum(parts) == pytest.approx(1.0)
    assert parts[0] == pytest.approx(0.9, abs=0.02)
    assert shared.news(0) == {}, "it is told what it does not know"
    assert shared.take_wanted() == {KEY: 18200}
    assert shared.take_wanted() == {}


def test_a_leased_limit_is_split_on() -> None:
    shared = leases(limit(scope="service"))
    assert shared.news(1)[KEY] == pytest.approx(0.5)
    shared.lease({KEY: 0.2})
    assert shared.news(1)[KEY] == pytest.approx(0.1)
    shared.lease({KEY: 0.4})
    assert shared.news(1)[KEY] == pytest.approx(0.2)
    shared.follow({KEY: limit()})
    assert shared.news(1)[KEY] == pytest.approx(0.5), "what is no longer shared is the sidecar's"


def test_a_new_process_is_told_everything() -> None:
    shared = leases(limit())
    assert shared.news(1)
    assert not shared.news(1)
    shared.started(1)
    assert shared.news(1)


def test_a_limit_that_comes_back_is_told_again_and_one_that_is_gone_is_forgotten() -> None:
    shared = leases(limit())
    assert shared.news(0)
    shared.follow({})
    shared.reported(0, {KEY: 5}, 1.0)
    assert (shared.news(0), shared.take_wanted()) == ({}, {})
    shared.follow({KEY: limit()})
    assert shared.news(0)


@pytest.mark.parametrize("keys", [(), (LimitKey("path"),)])
def test_less_than_a_slow_limit_passes_whichever_worker_it_meets(keys: tuple[LimitKey, ...]) -> None:
    slow, random = limit(60, per_s=3600.0, keys=keys), Random(1)
    shared, workers = leases(slow), [Limit(slow.rate, slow.size, 10 * len(keys), 0.5) for _ in range(2)]
    passed = 0
    for second in range(400):
        wanted = [0, 0]
        if second % 10 == 0:
            worker = random.randrange(2)
            wanted[worker] = 1
            passed += workers[worker].bucket(b"", float(second)).take(float(second))
        for number in range(2):
            shared.reported(number, {KEY: wanted[number]}, 1.0)
        for number, worker_limit in enumerate(workers):
            for part in shared.news(number).values():
                worker_limit.lease(part, float(second))
    assert passed >= 38
