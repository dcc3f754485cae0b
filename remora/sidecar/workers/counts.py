"""Counters on their way from a worker to the parent.

A worker gives away what it has counted and starts at 0 again; the parent adds it to what it has. So the parent's sums
never fall, whatever becomes of a worker: only what one that is killed had counted since its last report is gone.

Both find what is in Metrics by its kind: numbers, lists of numbers, dicts of numbers or of objects with slots of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remora.sidecar.telemetry.metrics import Metrics

Taken = dict[str, Any]
"""By slot: numbers, lists of numbers, and for a dict a list of (key, number or Taken of an object). Zeros are left
out."""

GAUGES = frozenset(("connections",))
"""What is as it is now, not counted."""

Key = tuple[Any, ...]

SERIES: dict[str, Callable[[Metrics, Key, Taken], object]] = {
    "requests": lambda metrics, key, taken: metrics.new_series(key, taken["count"]),
    "grpc": lambda metrics, key, _: metrics.new_grpc_series(key),
    "tcp": lambda metrics, key, _: metrics.tcp_series(key),
}
"""Where Metrics has objects in a dict: what makes the one for a key that is new, within its bounds, and what is added
to it next."""

NUMBERS: dict[str, Callable[[Metrics, Key, int], None]] = {
    "retries": lambda metrics, key, count: metrics.count_retry(key[0], key[1], count),
    "ejections": lambda metrics, key, count: metrics.count_ejection(key[0], count),
    "health_checks": lambda metrics, key, count: metrics.count_health_check(key[0], key[1], count),
    "breakers": lambda metrics, key, count: metrics.count_breaker(key[0], key[1], count),
    "fallbacks": lambda metrics, key, count: metrics.count_fallback(key[0], key[1], key[2], count),
    "shadowed": lambda metrics, key, count: metrics.count_shadowed(key[0], key[1], count),
    "faults": lambda metrics, key, count: metrics.count_fault(key[0], key[1], key[2], count),
    "ratelimited": lambda metrics, key, count: metrics.count_ratelimited(key[0], key[1], key[2], count),
    "mirrored": lambda metrics, key, count: metrics.count_mirrored(key[0], key[1], key[2], count),
    "limiter_failures": lambda metrics, key, count: metrics.count_limiter_failure(key[0], key[1], count),
    "retries_denied": lambda metrics, key, count: metrics.count_retry_denied(key[0], count),
    "detected": lambda metrics, key, count: metrics.count_detected(key[0], key[1], key[2], count),
    "server_names": lambda metrics, key, count: metrics.count_server_name(key[0], key[1], count),
}
"""Where it has numbers in a dict: what adds to the one for a key, within its bounds."""


def take(metrics: Metrics) -> Taken:
    """What was counted since the last take; `metrics` counts from 0 again."""
    return _take_slots(metrics)


def _take_slots(owner: object) -> Taken:
    found = ((slot, _take_slot(owner, slot)) for slot in _slots(owner))
    return {slot: value for slot, value in found if value}


def _take_slot(owner: object, slot: str) -> Any:
    value = getattr(owner, slot)
    if isinstance(value, dict):
        return _take_items(value)
    if isinstance(value, list):
        if not any(value):
            return None
        setattr(owner, slot, [0] * len(value))
    else:
        setattr(owner, slot, 0)
    return value


def _take_items(items: dict[Any, Any]) -> list[tuple[Any, Any]]:
    if all(isinstance(value, int | float) for value in items.values()):
        numbers = list(items.items())
        items.clear()
        return numbers
    # The objects stay: who counts may hold one.
    taken = ((key, _take_slots(value)) for key, value in items.items())
    return [(key, value) for key, value in taken if value]


def add(metrics: Metrics, taken: Taken) -> None:
    """Add what a worker gave away."""
    for slot, value in taken.items():
        if slot in SERIES:
            _add_series(metrics, slot, value)
        elif slot in NUMBERS:
            for key, count in value:
                NUMBERS[slot](metrics, tuple(key), count)
        else:
            _add_slot(metrics, slot, value)


def _add_series(metrics: Metrics, slot: str, items: list[tuple[Any, Taken]]) -> None:
    known = getattr(metrics, slot)
    for wire_key, counted in items:
        key = tuple(wire_key)  # it comes as a list
        series = known.get(key) or SERIES[slot](metrics, key, counted)
        for inner, value in counted.items():
            _add_slot(series, inner, value)


def _add_slot(owner: object, slot: str, value: Any) -> None:
    mine = getattr(owner, slot)
    if isinstance(mine, dict):  # of a series, by flag
        for key, count in value:
            mine[key] = mine.get(key, 0) + count
    elif isinstance(mine, list):
        setattr(owner, slot, [a + b for a, b in zip(mine, value, strict=True)])
    else:
        setattr(owner, slot, mine + value)


def _slots(owner: object) -> list[str]:
    kind = type(owner)
    # A class that mypyc has compiled has another name for them.
    slots: tuple[str, ...] = getattr(kind, "__slots__", ()) or kind.__mypyc_attrs__  # type: ignore[attr-defined]
    return [slot for slot in slots if slot not in GAUGES]
