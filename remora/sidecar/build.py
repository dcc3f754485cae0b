"""Which build of the sidecar this is: the wheel whose hot path mypyc has compiled, or plain Python."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from remora import __version__

_COMPILED_IF_ANY_IS = "remora.sidecar.exchange.exchange"
"""All modules of the hot path are compiled together, or none."""


def build() -> Literal["compiled", "pure"]:
    spec = find_spec(_COMPILED_IF_ANY_IS)
    return "pure" if spec is None or spec.origin is None or spec.origin.endswith(".py") else "compiled"


def version() -> str:
    """The version and the build, for people."""
    return f"{__version__} ({build()})"
