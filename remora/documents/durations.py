"""Durations as Gateway API writes them (GEP-2257): `1h30m`, `5s`, `100ms`, `0s`; no fractions, no bare numbers."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}\Z"

POSITIVE_PATTERN = r"^(?=.*[1-9])([0-9]{1,5}(h|m|s|ms)){1,4}\Z"
"""The same, above zero."""

_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Seconds of a duration that PATTERN matches."""
    return sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(duration))
