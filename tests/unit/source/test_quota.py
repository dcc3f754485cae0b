"""What a sidecar tells control of its needs, and what it takes from it."""

from __future__ import annotations

import math

import pytest

from remora.model.shares import QuotaKey
from remora.proto.mesh.v1.discovery_pb2 import QuotaShare, Shares, SidecarMessage
from remora.sidecar.source.demand import Demand
from remora.sidecar.source.quota import QuotaAgent

KEY: QuotaKey = ("shop.default", "shop/all")
OTHER: QuotaKey = ("shop.default", "shop/other")


class Played:
    """An agent, a control that writes down, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wanted = 0
        self.leased: dict[QuotaKey, float] = {}
        self.told: list[dict[QuotaKey, float]] = []
        self.agent = QuotaAgent(lambda: {KEY: self.wanted}, self.leased.update, lambda: self.now)

    def put(self, _: str, message: SidecarMessage) -> None:
        self.told.append({(each.service, each.limit): each.rate for each in message.demand.quotas})

    def look(self, wanted: int, seconds: float = 0.5) -> None:
        self.now += seconds
        self.wanted = wanted
        self.agent.look()

    def receive(self, key: QuotaKey, share: float) -> None:
        self.agent.received(Shares(quotas=[QuotaShare(service=key[0], limit=key[1], share=share, participants=2)]))


@pytest.fixture
async def played() -> Played:
    return Played()


async def test_what_is_shared_is_told_at_once_and_then_what_is_news(played: Played) -> None:
    played.agent.connected(played.put)
    assert played.told == []
    played.agent.follow({KEY: 100.0})
    assert played.told == [{KEY: 0.0}]
    played.look(50)
    assert played.told[-1][KEY] == pytest.approx(63, abs=1)
    for _ in range(20):
        played.look(50)
    count = len(played.told)
    played.look(50)
    assert len(played.told) == count
    played.agent.follow({})
    assert played.told[-1] == {}
    played.agent.stop()


async def test_another_limit_is_another_measure_of_what_is_news(played: Played) -> None:
    played.agent.connected(played.put)
    played.agent.follow({KEY: 1000.0})
    played.look(1)
    assert len(played.told) == 1
    played.agent.follow({KEY: 10.0})
    played.look(1)
    assert len(played.told) == 2
    played.agent.stop()


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, math.nan])
async def test_a_share_that_is_none_is_not_taken(played: Played, share: float) -> None:
    played.agent.follow({KEY: 100.0})
    played.receive(KEY, share)
    assert played.leased == {}
    played.receive(KEY, 0.5)
    assert played.leased == {KEY: 0.5}
    played.agent.stop()


async def test_a_share_of_what_is_not_shared_any_more_is_not_taken(played: Played) -> None:
    played.agent.follow({KEY: 100.0})
    played.receive(OTHER, 0.5)
    assert played.leased == {}
    played.agent.stop()


def test_demand_of_a_slow_limit_is_smoothed_over_the_time_of_twenty_requests() -> None:
    quick, slow = Demand(100.0), Demand(0.5)
    for demand in (quick, slow):
        demand.observe(10, 0.5)
    assert quick.rate == pytest.approx(20 * (1 - math.exp(-1)))
    assert slow.rate == pytest.approx(20 * (1 - math.exp(-0.5 / 40)))


def test_who_asks_evenly_is_known_however_often_it_is_looked_at() -> None:
    for seconds in (0.1, 0.5, 2.0):
        demand = Demand(100.0)
        for _ in range(round(10 / seconds)):
            demand.observe(round(40 * seconds), seconds)
        assert demand.rate == pytest.approx(40, rel=0.01)
