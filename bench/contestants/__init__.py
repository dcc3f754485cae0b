"""The proxies under test. Each is given the same routes and policies; access logs are off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contestants import remora
from bench.contestants.aiohttp import AiohttpProxy
from bench.contestants.base import Contestant, Running
from bench.contestants.direct import Direct
from bench.contestants.envoy import Envoy
from bench.contestants.haproxy import Haproxy
from bench.contestants.nginx import Nginx
from bench.contestants.remora import NoRemoraError

__all__ = ["BASELINE", "DIRECT", "Contestant", "NoRemoraError", "Running", "everyone", "names"]

BASELINE = Envoy.name
DIRECT = Direct.name
SUBJECT = "Remora"
"""What the names of all Remoras begin with."""


def names() -> list[str]:
    """What people can ask for."""
    return [SUBJECT, *(contestant.name for contestant in _others())]


def everyone(pythons: Sequence[Path] = (), wanted: Sequence[str] = ()) -> list[Contestant]:
    """The contestants in the order of the report, or those of them that are wanted.

    `pythons` are interpreters of which each brings a Remora along. Raises NoRemoraError.
    """
    remoras = remora.of_interpreters(pythons) if not wanted or SUBJECT in wanted else []
    return [*remoras, *(other for other in _others() if not wanted or other.name in wanted)]


def _others() -> list[Contestant]:
    return [Envoy(), Nginx(), Haproxy(), AiohttpProxy(), Direct()]
