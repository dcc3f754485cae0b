"""A short cut of the comparison with Envoy and h11; `make fuzz` has the long one."""

from __future__ import annotations

import itertools

import pytest

from fuzz.seeds import REQUESTS
from tests.differential.compare import play
from tests.differential.corpus import TOLERATED
from tests.differential.explained import explanation
from tests.differential.proxies import our_lanes
from tests.differential.run import curated, differences, mutations
from tests.differential.upstream import read_all

CUT_S = 8.0
SEED = 20


async def test_what_we_forward_is_what_envoy_and_h11_read() -> None:
    played, found = await differences(itertools.chain(curated(), mutations(SEED)), CUT_S)
    assert played > 100
    assert [str(finding) for finding in found if explanation(finding) is None] == []


@pytest.mark.parametrize("data", [data for data in REQUESTS if b"CONNECT" not in data and b"Upgrade" not in data])
async def test_requests_that_are_in_order_go_through(data: bytes) -> None:
    alone, refused = read_all(data)
    assert not refused
    async with our_lanes(1) as (lane,):
        outcome = await play(lane, data)
    assert [seen.key for seen in outcome.seen] == [seen.key for seen in alone]
    assert outcome.statuses[-1] == 200


@pytest.mark.parametrize("name", TOLERATED)
async def test_what_is_tolerated_is_written_anew(name: str) -> None:
    async with our_lanes(1) as (lane,):
        outcome = await play(lane, TOLERATED[name])
    assert not outcome.broken
    assert set(outcome.statuses) <= {200}
    assert [(seen.target, seen.host) for seen in outcome.seen] == [(b"/", b"a")] * len(outcome.statuses)
