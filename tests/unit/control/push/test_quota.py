"""Shared limits: who gets how much, while needs, sidecars, controls and the store come and go."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from random import Random

import pytest

from remora.control.push.quota import MAX_QUOTAS, RENEW_S, TTL_S
from remora.control.store.interface import Event, EventKind, LeaseId, Revision
from remora.control.store.memory import MemoryStore
from remora.model.limits import LimitKey, RateLimit
from remora.proto.mesh.v1 import discovery_pb2 as pb
from remora.sidecar.source.quota import KEPT_S
from tests.support.push import name
from tests.support.shared_limit import KEY, LIMIT, ORIGIN, STEP_S, Clock, Control, Mesh, Sidecar
from tests.support.waiting import until


@pytest.mark.parametrize("rates", [(100, 50, 20), (200, 200, 200), (0, 0, 150), (40, 80, 0), (34, 34, 34)])
async def test_all_together_let_the_limit_through(rates: Sequence[float]) -> None:
    mesh = Mesh()
    await mesh.run(4, *rates)
    assert sum(mesh.shares) == pytest.approx(1.0, abs=0.02)
    assert await mesh.run(10, *rates) == pytest.approx(1000, rel=0.05)


async def test_parts_follow_needs_that_move() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 50, 20)
    assert mesh.shares == pytest.approx([0.4, 0.4, 0.2], abs=0.02)
    moving = await mesh.run(2, 10, 10, 150)
    assert 120 <= moving <= 200 + LIMIT.size
    assert await mesh.run(10, 10, 10, 150) == pytest.approx(1000, rel=0.05)
    assert mesh.shares == pytest.approx([0.1, 0.1, 0.8], abs=0.02)


async def test_who_needs_nothing_can_begin_at_once() -> None:
    mesh = Mesh()
    await mesh.run(4, 0, 0, 300)
    assert min(mesh.shares) > 0.005
    mesh.sidecars[0].serve(1.0 / STEP_S)
    assert mesh.sidecars[0].passed == 1


async def test_less_than_the_limit_is_never_refused() -> None:
    mesh = Mesh()
    await mesh.run(4, 40, 20, 10)
    assert await mesh.run(10, 40, 20, 10) == pytest.approx(700, abs=2)


async def test_with_control_away_each_keeps_its_part_and_later_has_an_equal_one() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 50, 20)
    for sidecar in mesh.sidecars:
        sidecar.leave()
    assert await mesh.run(10, 100, 50, 20) == pytest.approx(1000, rel=0.05)
    assert mesh.shares == pytest.approx([0.4, 0.4, 0.2], abs=0.02)
    await mesh.run(KEPT_S, 100, 50, 20)
    assert mesh.shares == pytest.approx([1 / 3] * 3)


async def test_a_sidecar_that_moves_to_another_control_is_counted_once() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    mesh.sidecars[0].leave()
    mesh.sidecars[0].connect(mesh.controls[1])
    assert await mesh.run(10, 100, 100, 100) == pytest.approx(1000, rel=0.05)
    assert mesh.shares == pytest.approx([1 / 3] * 3, abs=0.02)


async def test_what_a_sidecar_had_that_is_gone_goes_to_the_others() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    gone = mesh.sidecars.pop(0)
    gone.leave()
    await mesh.run(1, 100, 100)
    assert mesh.shares == pytest.approx([1 / 2] * 2, abs=0.02)


async def test_a_control_that_is_gone_is_believed_until_its_lease_ends() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    mesh.controls.pop(0)
    await mesh.run(2, 100, 100, 100)
    assert mesh.shares[2] == pytest.approx(1 / 3, abs=0.02)
    await mesh.run(TTL_S, 100, 100, 100)
    assert mesh.shares[2] == 1.0


async def test_without_the_store_each_control_shares_among_its_own() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    mesh.store.set_available(False)
    await mesh.controls[0].quotas.write()
    mesh.store.set_available(True)
    assert await mesh.run(10, 100, 100, 100) == pytest.approx(1000, rel=0.05)


async def test_nothing_is_written_while_nothing_moves_and_nothing_is_left_behind() -> None:
    mesh = Mesh()
    control = mesh.controls[0]
    await control.round()
    revision = (await mesh.store.status()).revision
    await control.round()
    assert (await mesh.store.status()).revision == revision
    for sidecar in mesh.sidecars[:2]:
        sidecar.leave()
    await control.round()
    assert not (await mesh.store.list("/mesh/test/quotas/a")).entries


async def test_what_cannot_be_read_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    mesh = Mesh()
    mesh.controls[0].quotas.take([Event(EventKind.PUT, "/mesh/test/quotas/z", b"{", Revision(1))])
    assert "cannot be read" in caplog.text
    assert await mesh.run(5, 100, 50, 20) > 400


async def test_who_is_new_has_an_equal_part_at_once() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    late = Sidecar("shop-late", mesh.clock, mesh.controls[0])
    late.agent.stop()
    assert late.limit.share == pytest.approx(1 / 4)
    mesh.sidecars.append(late)
    assert await mesh.run(5, 100, 100, 100, 100) == pytest.approx(500, rel=0.06)
    assert mesh.shares == pytest.approx([1 / 4] * 4, abs=0.02)


async def test_demand_that_never_rests_keeps_its_lease() -> None:
    mesh, random = Mesh(), Random(1)
    await mesh.run(4, 100, 100, 100)

    def noise() -> list[float]:
        return [random.choice((0, 300)) for _ in mesh.sidecars]

    for _ in range(3 * TTL_S):
        await mesh.play(1, noise)
        assert len((await mesh.store.list("/mesh/test/quotas/")).entries) == 2


async def test_requests_here_and_there_of_less_than_a_slow_limit_pass() -> None:
    mesh, random = Mesh(RateLimit(name("shop"), "shop/all", ORIGIN, 30, per_s=60.0, scope="service")), Random(0)
    asked = 0

    def now_and_then() -> list[float]:
        nonlocal asked
        came = [random.random() < 0.4 / 3 * STEP_S for _ in mesh.sidecars]
        asked += sum(came)
        return [1.0 / STEP_S if each else 0.0 for each in came]

    passed = await mesh.play(600, now_and_then)
    assert asked > 200
    assert passed >= 0.97 * asked


async def test_a_limit_by_key_goes_where_requests_come() -> None:
    by_key = RateLimit(name("shop"), "shop/all", ORIGIN, 100, burst=20, keys=(LimitKey("path"),), scope="service")
    mesh = Mesh(by_key)
    await mesh.run(4, 1600, 300, 100)
    assert mesh.shares == pytest.approx([0.683, 0.196, 0.121], abs=0.02)


async def test_what_is_no_rate_counts_as_none() -> None:
    mesh = Mesh()
    for rate in (math.nan, math.inf, -1.0):
        quota = pb.QuotaDemand(service=KEY[0], limit=KEY[1], rate=rate)
        mesh.controls[0].quotas.told(mesh.sidecars[0].connection, pb.Demand(quotas=[quota]))
        assert mesh.controls[0].quotas.demands()[KEY]["shop-0"] == 0.0


async def test_a_limit_that_comes_back_is_shared_anew() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    sidecar = mesh.sidecars[0]
    other = (KEY[0], "shop/other")
    sidecar.agent.follow({other: 1.0})
    sidecar.limit.lease(1.0, mesh.clock.now)
    sidecar.agent.follow({KEY: LIMIT.rate, other: 1.0})
    sidecar.hear()
    assert sidecar.limit.share <= 1 / 3, "it is welcomed anew"
    await mesh.run(1, 100, 100, 100)
    assert mesh.shares == pytest.approx([1 / 3] * 3, abs=0.02)


async def test_a_control_that_has_just_started_leaves_parts_as_they_are() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    for sidecar in mesh.sidecars:
        sidecar.leave()
    late = Control(MemoryStore(), "c", mesh.clock, LIMIT)
    mesh.controls = [late]
    late.quotas.settle(0.01)
    for sidecar in mesh.sidecars:
        sidecar.revision = 7
        sidecar.connect(late)
        await mesh.run(1, 100, 100, 100)
        assert mesh.shares == pytest.approx([1 / 3] * 3, abs=0.02)
    newcomer = Sidecar("shop-new", mesh.clock, late)
    assert newcomer.limit.share == pytest.approx(1 / 4)
    await asyncio.sleep(0.02)
    mesh.sidecars[0].leave()
    await mesh.run(1, 100, 100, 100)
    assert mesh.shares[1:] == pytest.approx([0.5] * 2, abs=0.02), "who is new wants nothing"


class SlowStore(MemoryStore):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def grant(self, ttl_s: int) -> LeaseId:
        self.asked.set()
        await self.answers.wait()
        return await super().grant(ttl_s)


async def test_a_slow_store_keeps_no_sidecar_waiting() -> None:
    store, clock = SlowStore(), Clock()
    control = Control(store, "a", clock, LIMIT)
    rounds = asyncio.create_task(control.quotas.run())
    try:
        first = Sidecar("shop-0", clock, control)
        await store.asked.wait()
        second = Sidecar("shop-1", clock, control)
        async with asyncio.timeout(10):
            while first.limit.share != second.limit.share:
                await first.connection.woken()
                first.hear()
        assert first.limit.share == pytest.approx(1 / 2)
        store.answers.set()
        await until(lambda: bool(control.quotas._written))
    finally:
        rounds.cancel()
        await asyncio.wait([rounds])


@pytest.mark.parametrize(
    ("key", "share"),
    [("/mesh/test/quotas/z", 1 / 2), ("/mesh/test/quotas/a", 1.0), ("/mesh/other/quotas/z", 1.0)],
    ids=["another control", "itself", "another environment"],
)
async def test_whose_word_counts(key: str, share: float) -> None:
    control = Control(MemoryStore(), "a", Clock(), LIMIT)
    sidecar = Sidecar("shop-0", Clock(), control)
    sidecar.agent.stop()
    record = b'[{"service": "%s", "limit": "%s", "rates": {"shop-1": 0}}]' % (KEY[0].encode(), KEY[1].encode())
    control.quotas.take([Event(EventKind.PUT, key, record, Revision(1))])
    control.quotas.share()
    sidecar.hear()
    assert sidecar.limit.share == pytest.approx(share)


async def test_one_sidecar_has_so_many_quotas_at_most() -> None:
    mesh = Mesh()
    many = [pb.QuotaDemand(service=KEY[0], limit=f"shop/{number}", rate=1) for number in range(MAX_QUOTAS + 5)]
    mesh.controls[0].quotas.told(mesh.sidecars[0].connection, pb.Demand(quotas=many))
    mesh.sidecars[1].leave()
    assert len(mesh.controls[0].quotas.demands()) == MAX_QUOTAS


async def test_what_was_written_under_a_lost_lease_is_written_again() -> None:
    mesh = Mesh()
    await mesh.run(4, 100, 100, 100)
    for entry in (await mesh.store.list("/mesh/test/quotas/")).entries:
        assert entry.lease is not None
        mesh.store.expire(entry.lease)
    await mesh.run(RENEW_S + 1, 100, 100, 100)
    assert len((await mesh.store.list("/mesh/test/quotas/")).entries) == 2
    assert mesh.shares == pytest.approx([1 / 3] * 3, abs=0.02)


async def test_parts_that_stay_are_not_sent_again() -> None:
    mesh = Mesh()
    await mesh.run(8, 100, 100, 100)
    mesh.controls[0].quotas.share()
    assert not mesh.sidecars[0].connection.take_replies()
    late = Sidecar("shop-late", mesh.clock, mesh.controls[0])
    late.agent.stop()
    mesh.controls[0].quotas.share()
    assert mesh.sidecars[0].connection.take_replies()


async def test_what_a_sidecar_says_here_is_newer_than_what_others_have_heard() -> None:
    control = Control(MemoryStore(), "a", Clock(), LIMIT)
    sidecar = Sidecar("shop-0", Clock(), control)
    record = b'[{"service": "%s", "limit": "%s", "rates": {"shop-0": 0, "shop-1": 200}}]'
    record %= (KEY[0].encode(), KEY[1].encode())
    control.quotas.take([Event(EventKind.PUT, "/mesh/test/quotas/z", record, Revision(1))])
    quota = pb.QuotaDemand(service=KEY[0], limit=KEY[1], rate=200)
    control.quotas.told(sidecar.connection, pb.Demand(quotas=[quota]))
    control.quotas.share()
    sidecar.hear()
    sidecar.agent.stop()
    assert sidecar.limit.share == pytest.approx(1 / 2)
