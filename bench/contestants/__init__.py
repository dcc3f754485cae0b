"""The proxies under test. Each is given the same table of routes, retries and timeouts; access logs are off."""

from __future__ import annotations

from bench.contestants.aiohttp import AiohttpProxy
from bench.contestants.base import Contestant, Running
from bench.contestants.direct import Direct
from bench.contestants.envoy import Envoy
from bench.contestants.haproxy import Haproxy
from bench.contestants.nginx import Nginx
from bench.contestants.remora import Remora

__all__ = ["BASELINE", "DIRECT", "Contestant", "Running", "everyone"]

BASELINE = Envoy.name
DIRECT = Direct.name


def everyone() -> list[Contestant]:
    """All contestants, in the order of the report."""
    return [Remora(), Envoy(), Nginx(), Haproxy(), AiohttpProxy(), Direct()]
