from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.names import ServiceName
from remora.sidecar.source.subscriptions import Subscriptions

A, B, C, D = (ServiceName(f"{letter}.default") for letter in "abcd")


def test_the_least_recently_used_goes_when_there_are_too_many() -> None:
    subscriptions = Subscriptions([D], 2)
    assert subscriptions.add(A, 1.0) is None
    assert subscriptions.add(B, 2.0) is None
    subscriptions.touch(A, 3.0)
    assert subscriptions.add(C, 4.0) == B
    assert subscriptions.names() == [A, C, D]
    assert B not in subscriptions


def test_idle_ones_go_but_never_those_configured() -> None:
    subscriptions = Subscriptions([D], 10)
    subscriptions.add(D, 0.0)
    subscriptions.add(A, 1.0)
    subscriptions.add(B, 5.0)
    assert subscriptions.drop_idle(unused_since=3.0) == [A]
    assert subscriptions.names() == [B, D]
    assert len(subscriptions) == 2


def test_touching_does_not_subscribe() -> None:
    subscriptions = Subscriptions([], 10)
    subscriptions.touch(A, 1.0)
    assert A not in subscriptions


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(1, 5))
def test_the_bound_holds_and_an_added_name_is_always_in(letters: list[str], bound: int) -> None:
    subscriptions = Subscriptions([], bound)
    for now, letter in enumerate(letters):
        evicted = subscriptions.add(ServiceName(letter), now)
        assert ServiceName(letter) in subscriptions
        assert evicted is None or evicted not in subscriptions
        assert len(subscriptions) <= bound
