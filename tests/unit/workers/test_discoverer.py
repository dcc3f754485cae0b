"""What a worker asks the parent for, and what it remembers of the answers."""

from __future__ import annotations

import asyncio

import pytest

from remora.model.names import ServiceName
from remora.sidecar.workers import discoverer as module
from remora.sidecar.workers.discoverer import UNKNOWN_FOR_S, ParentDiscoverer

ORDERS, STOCK = ServiceName("orders.default"), ServiceName("stock.default")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_each_name_is_asked_for_once_and_all_who_wait_get_the_answer() -> None:
    asked: list[ServiceName] = []
    discoverer = ParentDiscoverer(asked.append)
    answers = [discoverer.subscribe(ORDERS), discoverer.subscribe(ORDERS), discoverer.subscribe(STOCK)]
    assert asked == [ORDERS, STOCK]
    assert discoverer.known(ORDERS) is None
    answers[0].cancel()
    discoverer.answered(ORDERS, True)
    discoverer.answered(STOCK, False)
    assert await asyncio.gather(*answers[1:]) == [True, False]
    assert discoverer.known(ORDERS) is None  # the snapshot has it
    discoverer.subscribe(ORDERS).cancel()
    assert asked == [ORDERS, STOCK, ORDERS]


async def test_unknown_is_believed_for_a_while() -> None:
    clock = Clock()
    discoverer = ParentDiscoverer(lambda _: None, clock)
    answer = discoverer.subscribe(ORDERS)
    discoverer.answered(ORDERS, False)
    assert await answer is False
    clock.now = UNKNOWN_FOR_S - 1
    assert discoverer.known(ORDERS) is False
    clock.now = UNKNOWN_FOR_S
    assert discoverer.known(ORDERS) is None


async def test_what_callers_make_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    asked: list[ServiceName] = []
    discoverer = ParentDiscoverer(asked.append)
    names = [ServiceName(f"s{number}.default") for number in range(5)]
    answers = [discoverer.subscribe(name) for name in names]
    assert asked == names[:3]
    assert [answer.done() and not answer.result() for answer in answers] == [False, False, False, True, True]
    for name in names:
        discoverer.answered(name, False)
    assert [discoverer.known(name) for name in names] == [None, None, False, False, False]


async def test_services_in_use_are_told_once() -> None:
    discoverer = ParentDiscoverer(lambda _: None)
    for name in (ORDERS, STOCK, ORDERS):
        discoverer.touch(name)
    assert sorted(discoverer.take_used()) == [ORDERS, STOCK]
    assert discoverer.take_used() == ()
