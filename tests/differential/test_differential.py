"""A short cut of the comparison with Envoy, h11 and h2; `make differential` has the long one."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from fuzz.seeds import REQUESTS
from tests.differential import http2
from tests.differential.compare import play
from tests.differential.corpus import HTTP2_REQUESTS, TOLERATED
from tests.differential.explained import explanation
from tests.differential.proxies import envoy_problem, our_lanes
from tests.differential.run import curated, differences, mutations
from tests.differential.upstream import read_all

CUT_S = 8.0
SEED = 20


@pytest.fixture
def envoy() -> None:
    problem = envoy_problem()
    if problem:
        pytest.skip(problem)


@pytest.mark.usefixtures("envoy")
async def test_http1_means_to_us_what_it_means_to_envoy_and_h11() -> None:
    played, found = await differences(itertools.chain(curated(), mutations(SEED)), CUT_S)
    assert played > 100
    assert [str(finding) for finding in found if explanation(finding) is None] == []


@pytest.mark.usefixtures("envoy")
async def test_http2_means_to_us_what_it_means_to_envoy_and_h2() -> None:
    cases = itertools.chain(http2.curated(), http2.mutations(SEED))
    played, found = await differences(cases, CUT_S, http2.HTTP2)
    assert played > 100
    assert [str(finding) for finding in found if explanation(finding) is None] == []


@pytest.mark.parametrize("fields", HTTP2_REQUESTS)
async def test_http2_requests_that_are_in_order_go_through(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    data = http2.OPENING + http2.request(Random(SEED), fields, b"")
    alone, refused = http2.read_all(data)
    assert not refused
    async with our_lanes(1) as (lane,):
        outcome = await play(lane, data, dialect=http2.HTTP2, answers=1)
    assert [seen.key for seen in outcome.seen] == [seen.key for seen in alone]
    assert outcome.statuses[-1] == 200


@pytest.mark.parametrize("data", [data for data in REQUESTS if b"CONNECT" not in data and b"Upgrade" not in data])
async def test_requests_that_are_in_order_go_through(data: bytes) -> None:
    alone, refused = read_all(data)
    assert not refused
    async with our_lanes(1) as (lane,):
        outcome = await play(lane, data, answers=len(alone))
    assert [seen.key for seen in outcome.seen] == [seen.key for seen in alone]
    assert outcome.statuses[-1] == 200


@pytest.mark.parametrize("name", TOLERATED)
async def test_what_is_tolerated_is_written_anew(name: str) -> None:
    async with our_lanes(1) as (lane,):
        outcome = await play(lane, TOLERATED[name], answers=1)
    assert not outcome.broken
    assert set(outcome.statuses) <= {200}
    assert [(seen.target, seen.host) for seen in outcome.seen] == [(b"/", b"a")] * len(outcome.statuses)
