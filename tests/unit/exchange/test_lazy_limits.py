"""A sidecar without limits loads nothing of them, and one without a rate limit service no gRPC."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
from remora.model.base import Origin
from remora.model.limits import RateLimit, ServiceLimits
from remora.model.names import ServiceName
from remora.model.snapshot import Service
from remora.sidecar.exchange.gate_makers import app_gates
from remora.sidecar.telemetry.metrics import Metrics

shop = ServiceName("shop.default")
limits = ServiceLimits((RateLimit(shop, "shop/all", Origin("RateLimitPolicy", "default", "shop"), 1),))
service = Service(shop, limits=limits) if sys.argv[1] == "limited" else Service(shop)
app_gates(Metrics(), workers=1).update({shop: service})
named = ("grpclib", "google", "remora.sidecar.ratelimit", "remora.sidecar.exchange.rate_limit")
print(*(name for name in named if name in sys.modules))
"""


def loaded(how: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", LOADED, how], check=True, capture_output=True, text=True
    ).stdout.split()


def test_nothing_is_loaded_for_what_is_not_configured() -> None:
    assert loaded("free") == []
    assert loaded("limited") == ["remora.sidecar.exchange.rate_limit"]
