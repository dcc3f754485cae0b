"""The `grpc-timeout` field (gRPC over HTTP/2, "Timeout")."""

from __future__ import annotations

_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_DIGITS = 8


def parse_grpc_timeout(value: bytes) -> float | None:
    """Seconds, or None where `value` is not 1 to 8 digits and a unit."""
    digits, unit = value[:-1], value[-1:]
    if unit not in _UNITS_S or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return int(digits) * _UNITS_S[unit]


def format_grpc_timeout(seconds: float) -> bytes:
    """`seconds`, rounded down, in the finest unit that 8 digits hold; at least one nanosecond is left."""
    for unit in (b"n", b"u", b"m", b"S", b"M"):
        count = int(seconds / _UNITS_S[unit])
        if count < 10**_MAX_DIGITS:
            return b"%d%b" % (max(1, count), unit)
    return b"%dH" % min(10**_MAX_DIGITS - 1, int(seconds / 3600))
