"""Which limits a sidecar enforces together with others."""

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
    shared = {"scope": "service"}
    prices = limited(PRICES, mine={**shared, "at_callers": True}, theirs=shared, alone={"at_callers": True})
    shop = limited(SHOP, mine=shared, theirs={**shared, "at_callers": True}, alone={})
    snapshot = Snapshot(1, {PRICES: prices})
    assert snapshot.shared_limits(shop) == {(PRICES, "p/mine"), (SHOP, "p/mine")}
    assert snapshot.shared_limits(None) == {(PRICES, "p/mine")}
    assert Snapshot().shared_limits(None) == frozenset()
