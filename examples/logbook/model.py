"""Dives, as the service keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedDive:
    """One dive of a diver."""

    diver: str
    number: int
    place: str
    depth_m: float
    minutes: float
    start: str
    """RFC 3339."""
    water: str = "SALT"


FIRST_DIVES = (
    LoggedDive("ada", 1, "Blue Hole", 28.5, 42, "2026-05-02T09:30:00Z"),
    LoggedDive("ada", 2, "Walchensee", 17.0, 35, "2026-06-14T10:00:00Z", "FRESH"),
    LoggedDive("ada", 3, "Secca delle Formiche", 31.2, 48, "2026-08-21T07:45:00Z"),
)
