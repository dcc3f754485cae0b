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
"""By slot: numbers, lists of numbers, Taken of an object, and for a dict a list of (key, what is under it)."""

GAUGES = frozenset(("connections",))
"""What is as it is now, not counted."""

NEW: dict[str, Callable[[Metrics, tuple[Any, ...]], object]] = {
    "requests": lambda metrics, key: metrics.new_series(key),
    "grpc": lambda metrics, key: metrics.new_grpc_series(key),
    "tcp": lambda metrics, key: metrics.tcp_series(key),
}
"""Where objects are in a dict, by its place in Metrics: what makes the one for a key that is new, within its bounds."""


def take(metrics: Metrics) -> Taken:
    """What was counted since the last take; `metrics` counts from 0 again."""
    return _take_slots(metrics)


def _take_slots(owner: object) -> Taken:
    taken: Taken = {}
    for slot in _slots(owner):
        value = getattr(owner, slot)
        if isinstance(value, int | float):
            taken[slot] = value
            setattr(owner, slot, 0)
        elif isinstance(value, list):
            taken[slot] = value
            setattr(owner, slot, [0] * len(value))
        elif isinstance(value, dict):
            taken[slot] = _take_items(value)
        elif value is not None:
            taken[slot] = _take_slots(value)
    return taken


def _take_items(items: dict[Any, Any]) -> list[tuple[Any, Any]]:
    if all(isinstance(value, int | float) for value in items.values()):
        numbers = list(items.items())
        items.clear()
        return numbers
    # The objects stay: who counts may hold one.
    taken = ((key, _take_slots(value)) for key, value in items.items())
    return [(key, value) for key, value in taken if _is_something(value)]


def _is_something(taken: Taken) -> bool:
    return any(any(value) if isinstance(value, list) else value for value in taken.values())


def add(metrics: Metrics, taken: Taken) -> None:
    """Add what a worker gave away."""
    _add_slots(metrics, taken, metrics, "")


def _add_slots(owner: object, taken: Taken, metrics: Metrics, place: str) -> None:
    for slot, value in taken.items():
        mine = getattr(owner, slot)
        if isinstance(mine, dict):
            _add_items(mine, value, metrics, place + slot)
        elif isinstance(mine, list):
            setattr(owner, slot, [a + b for a, b in zip(mine, value, strict=True)])
        elif isinstance(mine, int | float):
            setattr(owner, slot, mine + value)
        else:
            _add_slots(mine, value, metrics, f"{place}{slot}.")


def _add_items(mine: dict[Any, Any], items: list[tuple[Any, Any]], metrics: Metrics, place: str) -> None:
    for wire_key, value in items:
        # A tuple comes as a list.
        key = tuple(wire_key) if isinstance(wire_key, list | tuple) else wire_key
        if isinstance(value, dict):
            _add_slots(mine.get(key) or NEW[place](metrics, key), value, metrics, "")
        else:
            mine[key] = mine.get(key, 0) + value


def _slots(owner: object) -> list[str]:
    slots: tuple[str, ...] = type(owner).__slots__  # type: ignore[attr-defined]
    return [slot for slot in slots if slot not in GAUGES]
