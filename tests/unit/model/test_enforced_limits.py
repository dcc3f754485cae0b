"""Which limits a sidecar enforces."""

from __future__ import annotations

from remora.model.base import Origin
from remora.model.limits import RateLimit, ServiceLimits
from remora.model.names import ServiceName
from remora.model.snapshot import Service, Snapshot

SHOP, PRICES = ServiceName("shop.default"), ServiceName("prices.default")


def limited(service: ServiceName, **limits: dict[str, object]) -> Service:
    origin = Origin("RateLimitPolicy", "default", "p")
    found = (RateLimit(service, f"p/{name}", origin, 1, **fields) for name, fields in limits.items())  # type: ignore[arg-type]
    return Service(service, limits=ServiceLimits(tuple(found)))


def test_those_of_its_app_and_those_that_callers_enforce() -> None:
    prices = limited(PRICES, mine={"at_callers": True, "scope": "service"}, theirs={})
    shop = limited(SHOP, mine={}, theirs={"at_callers": True})
    snapshot = Snapshot(1, {PRICES: prices})
    assert snapshot.enforced_limits(shop).keys() == {(PRICES, "p/mine"), (SHOP, "p/mine")}
    assert snapshot.enforced_limits(None) == {(PRICES, "p/mine"): prices.limits.limits[0]}
    assert Snapshot().enforced_limits(None) == {}
