"""Counters on their way from a worker to the parent.

A worker gives away what it has counted and starts at 0 again; the parent adds it to what it has. So the parent's sums
never fall, whatever becomes of a worker: only what one that is killed had counted since its last report is gone.

Both find what is in Metrics by its kind: numbers, lists of numbers, objects with slots of these, dicts of all three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remora.sidecar.telemetry.metrics import Metrics

Taken = dict[str, Any]
"""By slot: numbers, lists of numbers, Taken of an object, and for a dict a list of (key, what is under it). Zeros are
left out."""

GAUGES = frozenset(("connections",))
"""What is as it is now, not counted."""

SERIES: dict[str, Callable[[Metrics, tuple[Any, ...], Taken], object]] = {
    "requests": lambda metrics, key, taken: metrics.new_series(key, taken["count"]),
    "grpc": lambda metrics, key, _: metrics.new_grpc_series(key),
    "tcp": lambda metrics, key, _: metrics.tcp_series(key),
}
"""Where Metrics has objects in a dict: what makes the one for a key that is new, within its bounds, and what is added
to it next."""


def take(metrics: Metrics) -> Taken:
    """What was counted since the last take; `metrics` counts from 0 again."""
    return _take_slots(metrics)


def _take_slots(owner: object) -> Taken:
    found = ((slot, _take_slot(owner, slot)) for slot in _slots(owner))
    return {slot: value for slot, value in found if value}


def _take_slot(owner: object, slot: str) -> Any:
    value = getattr(owner, slot)
    if isinstance(value, int | float):
        setattr(owner, slot, 0)
        return value
    if isinstance(value, list):
        if not any(value):
            return None
        setattr(owner, slot, [0] * len(value))
        return value
    return _take_items(value) if isinstance(value, dict) else _take_slots(value)


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
        make = SERIES.get(slot)
        if make is None:
            _add_slot(metrics, slot, value)
            continue
        series = getattr(metrics, slot)
        for wire_key, counted in value:
            key = tuple(wire_key)  # a tuple comes as a list
            _add_slots(series.get(key) or make(metrics, key, counted), counted)


def _add_slots(owner: object, taken: Taken) -> None:
    for slot, value in taken.items():
        _add_slot(owner, slot, value)


def _add_slot(owner: object, slot: str, value: Any) -> None:
    mine = getattr(owner, slot)
    if isinstance(mine, dict):
        for wire_key, count in value:
            key = tuple(wire_key) if isinstance(wire_key, list | tuple) else wire_key
            mine[key] = mine.get(key, 0) + count
    elif isinstance(mine, list):
        setattr(owner, slot, [a + b for a, b in zip(mine, value, strict=True)])
    elif isinstance(mine, int | float):
        setattr(owner, slot, mine + value)
    else:
        _add_slots(mine, value)


def _slots(owner: object) -> list[str]:
    slots: tuple[str, ...] = type(owner).__slots__  # type: ignore[attr-defined]
    return [slot for slot in slots if slot not in GAUGES]
