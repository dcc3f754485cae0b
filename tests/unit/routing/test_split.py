"""Weighted backends: shares are as the weights say, and a key stays where it is unless the weights drive it away."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from remora.model.names import ServiceName
from remora.model.policies import HashKey, ServicePolicy
from remora.model.routes import Backend, Route, RouteMatch
from remora.model.snapshot import Service
from remora.sidecar.routing.split import Split
from remora.sidecar.routing.table import CompiledService
from remora.sidecar.wire.heads import RequestHead
from tests.unit.routing.test_table import ORIGIN, SHOP

KEYS = [b"user-%d" % number for number in range(2000)]
WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=5)


def split(weights: list[int], service: ServiceName = SHOP) -> Split:
    return Split(service, [Backend(ServiceName(f"v{index}.default"), weight) for index, weight in enumerate(weights)])


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4))
def test_keys_fall_as_the_weights_say(weights: list[int]) -> None:
    chosen = Counter(map(split(weights).place, KEYS))
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        # Five standard deviations of a binomial distribution.
        assert abs(chosen[index] - share * len(KEYS)) <= 5 * (len(KEYS) * share * (1 - share)) ** 0.5 + 1


@given(WEIGHTS, st.data())
def test_a_backend_that_grows_keeps_whom_it_had_and_the_others_lose_only_to_it(
    weights: list[int], data: st.DataObject
) -> None:
    grown = data.draw(st.integers(0, len(weights) - 1))
    after = list(weights)
    after[grown] += data.draw(st.integers(1, 1000))
    before_split, after_split = split(weights), split(after)
    for key in KEYS[:200]:
        was, now = before_split.place(key), after_split.place(key)
        assert now in (was, grown)


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_canary_that_gets_more_of_a_hundred_keeps_whom_it_had(one: int, other: int) -> None:
    less, more = sorted((one, other))
    before, after = split([100 - less, less]), split([100 - more, more])
    assert all(after.place(key) == 1 for key in KEYS[:200] if before.place(key) == 1)


def test_services_split_the_same_users_in_ways_of_their_own() -> None:
    one, other = split([50, 50]), split([50, 50], ServiceName("cart.default"))
    same = sum(one.place(key) == other.place(key) for key in KEYS)
    assert 0.4 < same / len(KEYS) < 0.6


def test_without_a_second_backend_no_cookie_is_made() -> None:
    policy = ServicePolicy(sticky_by=(HashKey("cookie", "uid", 0.0),))

    def keys(*weights: int) -> object:
        backends = tuple(Backend(ServiceName(f"v{index}.default"), weight) for index, weight in enumerate(weights))
        service = CompiledService(Service(SHOP, (Route("r", ORIGIN, RouteMatch(), backends),), policy))
        route = service.route(RequestHead(b"GET", b"/", b"shop", []))
        assert route is not None
        return route.keys

    assert keys(100, 0) is None
    assert keys(99, 1) is not None
