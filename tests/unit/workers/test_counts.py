"""What workers count arrives at the parent, all of it and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.telemetry import metrics as telemetry
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.workers import counts

Count = Callable[[Metrics], None]

# Powers of two, so that sums of seconds are exact in whatever order.
SECONDS = (0.00048828125, 0.03125, 0.5, 64.0)


def request(service: str, status: str, seconds: float, size: int) -> Count:
    key = ("outbound", service, "", "route", "GET", status, "")

    def count(metrics: Metrics) -> None:
        (metrics.requests.get(key) or metrics.new_series(key)).observe(seconds, size, 2 * size)

    return count


def retry(service: str) -> Count:
    return lambda metrics: metrics.count_retry(service, "502")


def grpc(method: str, messages: int) -> Count:
    key = ("inbound", "orders.default", method)

    def count(metrics: Metrics) -> None:
        series = metrics.grpc.get(key) or metrics.new_grpc_series(key)
        series.streams += 1
        series.request_messages += messages
        series.response_messages += 1

    return count


def connection(service: str, flag: str, size: int) -> Count:
    def count(metrics: Metrics) -> None:
        series = metrics.tcp_series(("outbound", service, "", "tcp"))
        series.opened += 1
        series.received_bytes += size
        series.close(flag)

    return count


def detected(protocol: str, server_name: str) -> Count:
    def count(metrics: Metrics) -> None:
        metrics.count_detected("inbound", protocol, "bytes")
        metrics.count_server_name("inbound", server_name)

    return count


SERVICES = st.sampled_from(["a", "b"])
SIZES = st.integers(0, 2**40)
COUNTS = st.one_of(
    st.builds(request, SERVICES, st.sampled_from(["2xx", "5xx"]), st.sampled_from(SECONDS), SIZES),
    st.builds(retry, SERVICES),
    st.builds(grpc, st.sampled_from(["/a.A/Get", "/a.A/Put"]), st.integers(0, 9)),
    st.builds(detected, st.sampled_from(["tls", "tcp"]), SERVICES),
    st.builds(connection, SERVICES, st.sampled_from(["", "UC", "DC"]), SIZES),
)
WORKERS = 3
STEPS = st.lists(st.one_of(st.tuples(st.integers(0, WORKERS - 1), COUNTS), st.integers(0, WORKERS - 1)))


def content(owner: Any) -> Any:
    """All counters, as values that compare."""
    if isinstance(owner, dict):
        return {key: content(value) for key, value in owner.items()}
    if hasattr(type(owner), "__slots__"):
        return {slot: content(getattr(owner, slot)) for slot in type(owner).__slots__}
    return owner


def report(worker: Metrics, parent: Metrics) -> None:
    """As between processes: what is taken becomes bytes in between."""
    counts.add(parent, msgspec.msgpack.decode(msgspec.msgpack.encode(counts.take(worker))))


@given(STEPS)
def test_the_parent_has_exactly_what_one_process_would_have_counted(steps: list[Any]) -> None:
    alone, parent, workers = Metrics(), Metrics(), [Metrics() for _ in range(WORKERS)]
    for step in steps:
        if isinstance(step, int):
            report(workers[step], parent)
        else:
            number, count = step
            count(workers[number])
            count(alone)
    for worker in workers:
        report(worker, parent)
    assert content(parent) == content(alone)
    assert counts.take(workers[0]) == {}


@given(st.lists(st.lists(COUNTS), max_size=5))
def test_no_sum_ever_falls(rounds: list[list[Count]]) -> None:
    parent, worker = Metrics(), Metrics()
    before = dict(numbers(content(parent)))
    for round_ in rounds:
        for count in round_:
            count(worker)
        report(worker, parent)
        after = dict(numbers(content(parent)))
        assert all(after[place] >= value for place, value in before.items())
        before = after


def numbers(found: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(found, int | float):
        yield place, found
    else:
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from numbers(value, (*place, key))


def test_each_dict_has_its_bounds_at_the_parent_too() -> None:
    dicts = {slot for slot in Metrics.__slots__ if isinstance(getattr(Metrics(), slot), dict)}
    assert dicts - counts.GAUGES == counts.SERIES.keys() | counts.NUMBERS.keys()


def test_gauges_stay_where_they_are() -> None:
    worker = Metrics()
    worker.connections["inbound"] = 3
    assert counts.take(worker) == {}
    assert worker.connections == {"inbound": 3}


def test_a_series_that_somebody_holds_counts_on() -> None:
    parent, worker = Metrics(), Metrics()
    request("a", "2xx", 0.5, 1)(worker)
    (series,) = worker.requests.values()
    report(worker, parent)
    series.observe(0.5, 1, 1)
    report(worker, parent)
    assert [found.count for found in parent.requests.values()] == [2]


def test_what_is_over_the_bound_at_the_parent_is_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_SERIES", 1)
    parent = Metrics()
    for service, requests in (("a", 1), ("b", 2), ("c", 3)):
        worker = Metrics()
        for _ in range(requests):
            request(service, "2xx", 0.5, 1)(worker)
        report(worker, parent)
    assert {labels[1]: series.count for labels, series in parent.requests.items()} == {"a": 1, "other": 5}
    assert parent.overflowed == 5


def test_names_that_callers_choose_are_bounded_at_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_SERVER_NAMES", 2)
    worker, parent = Metrics(), Metrics()
    for number in range(5):
        detected("tls", f"s{number}")(worker)
        report(worker, parent)
    assert parent.server_names == {("inbound", "s0"): 1, ("inbound", "s1"): 1, ("inbound", "other"): 3}
