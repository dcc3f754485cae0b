"""How workers share limits."""

from __future__ import annotations

import pytest

from remora.sidecar.workers.leases import Leases

KEY = ("shop.default", "shop/all")


def test_parts_follow_what_is_needed_and_are_the_whole() -> None:
    leases = Leases(2)
    for _ in range(20):
        leases.reported(0, {KEY: 90}, 1.0)
        leases.reported(1, {KEY: 10}, 1.0)
    parts = [leases.news(worker)[KEY] for worker in range(2)]
    assert sum(parts) == pytest.approx(1.0)
    assert parts[0] == pytest.approx(0.9, abs=0.02)
    assert leases.news(0) == {}, "it is told what it does not know"
    assert leases.take_wanted() == {KEY: 2000}
    assert leases.take_wanted() == {}


def test_a_leased_limit_is_split_on() -> None:
    leases = Leases(2)
    leases.reported(0, {KEY: 0}, 1.0)
    leases.lease({KEY: 0.2})
    assert leases.news(1)[KEY] == pytest.approx(0.1)
    leases.lease({KEY: 0.4})
    assert leases.news(1)[KEY] == pytest.approx(0.2)


def test_a_new_process_is_told_everything() -> None:
    leases = Leases(2)
    leases.reported(1, {KEY: 5}, 1.0)
    assert leases.news(1)
    leases.started(1)
    assert leases.news(1)
