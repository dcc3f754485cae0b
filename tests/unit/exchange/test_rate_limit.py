"""The gate of rate limits, with a clock of the test's."""

from __future__ import annotations

import time

import pytest

from remora.model.base import Origin
from remora.model.limits import LimitKey, LimitKeyKind, RateLimit
from remora.model.names import ServiceName
from remora.model.routes import PathMatch, RouteMatch
from remora.sidecar.exchange.gate import Stopped
from remora.sidecar.exchange.rate_limit import RateLimitGate
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead

SHOP = ServiceName("shop.default")
ORIGIN = Origin("RateLimitPolicy", "default", "shop")


def limit(name: str = "all", requests: int = 2, **fields: object) -> RateLimit:
    return RateLimit(SHOP, f"shop/{name}", ORIGIN, requests, **fields)  # type: ignore[arg-type]


class Sidecar:
    """A gate, and the time."""

    def __init__(self, *limits: RateLimit, parts: int = 1) -> None:
        self.metrics = Metrics()
        self.gate = RateLimitGate(self.metrics, parts)
        self.now = 0.0
        self.use(*limits)

    def use(self, *limits: RateLimit) -> None:
        self.gate.configure(limits, self.now)

    def ask(self, path: str = "/", **headers: str) -> Stopped | None:
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        verdict = self.gate.enter(RequestHead(b"GET", path.encode(), b"shop", fields), self.now, 0.0)
        assert verdict is None or isinstance(verdict, Stopped)
        return verdict

    def passed(self, requests: int, **headers: str) -> int:
        return sum(self.ask(**headers) is None for _ in range(requests))


def test_over_the_limit_is_refused_with_all_that_a_client_needs() -> None:
    sidecar = Sidecar(limit(requests=10, per_s=60.0))
    assert sidecar.passed(10) == 10
    stopped = sidecar.ask()
    assert stopped is not None
    assert (stopped.failure.flag, stopped.failure.status, stopped.failure.grpc_status) == ("RL", 429, 8)
    assert stopped.detail == "shop.default takes 10 requests in 60 s (limit shop/all): come back later"
    assert dict(stopped.fields) == {
        b"ratelimit": b'"shop/all";r=0;t=6',
        b"ratelimit-policy": b'"shop/all";q=10;w=60',
    }
    assert stopped.wait_s == pytest.approx(6.0)
    assert sidecar.metrics.ratelimited == {("shop.default", "shop/all", "enforce"): 1}
    sidecar.now = 6.0
    assert sidecar.passed(2) == 1


def test_windows_of_the_policy_field_are_whole_seconds() -> None:
    sidecar = Sidecar(limit(requests=1, per_s=0.1))
    sidecar.ask()
    stopped = sidecar.ask()
    assert stopped is not None
    assert dict(stopped.fields)[b"ratelimit-policy"] == b'"shop/all";q=10;w=1'


def test_each_key_has_its_own_and_who_has_none_is_not_counted() -> None:
    sidecar = Sidecar(limit(keys=(LimitKey("header", "x-user"), LimitKey("path"))))
    assert sidecar.passed(3, x_user="ann") == 2
    assert sidecar.passed(3, x_user="bob") == 2
    assert sidecar.passed(3, path="/other", x_user="bob") == 2
    assert sidecar.passed(9) == 9


@pytest.mark.parametrize("kind", ["peer", "address"])
def test_addresses_are_told_apart(kind: LimitKeyKind) -> None:
    sidecar = Sidecar(limit(keys=(LimitKey(kind),)))
    for address in ("10.0.0.1", "10.0.0.2"):
        head = RequestHead(b"GET", b"/", b"shop", [], peer=address)
        verdicts = [sidecar.gate.enter(head, 0.0, 0.0) for _ in range(3)]
        assert [verdict is None for verdict in verdicts] == [True, True, False]


def test_a_flood_of_keys_shares_what_is_left() -> None:
    sidecar = Sidecar(limit(keys=(LimitKey("header", "x-user"),), max_keys=10))
    passed = sum(sidecar.passed(2, x_user=f"user-{number}" * 50) for number in range(1000))
    assert passed == 10 * 2 + 2


def test_who_is_refused_by_one_limit_uses_up_none_of_the_others() -> None:
    few = limit("few", 1, matches=(RouteMatch(PathMatch("prefix", "/reports")),))
    sidecar = Sidecar(limit("all", 5), few)
    assert [sidecar.ask("/reports") is None for _ in range(10)] == [True] + [False] * 9
    assert sidecar.passed(10) == 4


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_the_answer_tells_of_the_limit_that_lasts_longest(names: tuple[str, str]) -> None:
    long, short = limit(names[0], 1, per_s=60.0), limit(names[1], 1, per_s=10.0)
    sidecar = Sidecar(*sorted((long, short), key=lambda each: each.name))
    sidecar.ask()
    stopped = sidecar.ask()
    assert stopped is not None
    assert stopped.wait_s == pytest.approx(60.0)
    assert long.name in stopped.detail


def test_shadow_counts_and_lets_all_pass(caplog: pytest.LogCaptureFixture) -> None:
    sidecar = Sidecar(limit(shadow=True))
    assert sidecar.passed(10) == 10
    assert sidecar.metrics.ratelimited == {("shop.default", "shop/all", "shadow"): 8}
    assert sidecar.metrics.shadowed == {("shop.default", "ratelimit"): 8}
    (message,) = caplog.messages
    assert message.startswith("shop.default: ratelimit shop/all, in shadow mode, would have refused 1 requests")


def test_what_is_used_up_stays_so_when_documents_change() -> None:
    sidecar = Sidecar(limit(requests=10))
    sidecar.passed(10)
    sidecar.use(limit(requests=10, matches=(RouteMatch(PathMatch("prefix", "/")),)), limit("other", 100))
    assert sidecar.passed(5) == 0
    sidecar.use(limit(requests=20))
    assert sidecar.passed(20) == 0
    sidecar.now = 0.5
    assert sidecar.passed(20) == 10
    sidecar.use(limit(requests=20, keys=(LimitKey("path"),)))
    assert sidecar.passed(30) == 20


def test_it_explains_itself_and_changes_nothing() -> None:
    posts = limit("posts", 5, matches=(RouteMatch(PathMatch("exact", "/"), method="POST"),))
    sidecar = Sidecar(limit(requests=10, keys=(LimitKey("header", "x-user"),), scope="service"), posts)
    sidecar.passed(3, x_user="ann")
    head = RequestHead(b"GET", b"/", b"shop", [(b"x-user", b"ann")])
    for _ in range(2):
        keyed, missed = sidecar.gate.explain(head)
        assert keyed.says == (
            "shop/all",
            "at most 10 in 1 s, 10 at once",
            "apart by x-user",
            "one quota for all that enforce it",
            "100% of it is ours",
        )
        assert (keyed.missed, keyed.origin, keyed.stopped) == ("", ORIGIN, None)
        assert missed.missed == "method is POST (it is GET)"
    lacking, _ = sidecar.gate.explain(RequestHead(b"GET", b"/", b"shop", []))
    assert lacking.missed == "it lacks what requests are told apart by"


def test_it_says_when_it_is_used_up() -> None:
    head = RequestHead(b"GET", b"/", b"shop", [])
    sidecar = Sidecar(limit("hour", requests=10, per_s=3600.0), limit("tried", 1, per_s=3600.0, shadow=True))
    sidecar.now = time.monotonic()
    hour, tried = sidecar.gate.explain(head)
    assert (hour.now, hour.chance, tried.now) == ("room for 10 more", 0.0, "room for 1 more")
    assert sidecar.passed(20) == 10
    hour, tried = sidecar.gate.explain(head)
    assert hour.now == "used up, for 360 s"
    assert hour.chance == 1.0
    verdict = sidecar.gate.enter(head, sidecar.now, 0.0)
    assert isinstance(verdict, Stopped)
    assert hour.stopped is not None
    assert (hour.stopped.failure, hour.stopped.detail) == (verdict.failure, verdict.detail)
    assert (tried.now[:8], tried.stopped) == ("used up,", None)


def test_processes_share_what_one_sidecar_enforces() -> None:
    sidecar = Sidecar(limit(requests=100), parts=4)
    assert sidecar.passed(100) == 25
    (quota,) = sidecar.gate.quotas()
    assert quota.key == ("shop.default", "shop/all")
    assert quota.limit.take_wanted() == 100
    quota.limit.lease(0.5, sidecar.now)
    sidecar.now = 1.0
    assert sidecar.passed(100) == 50


def test_limits_of_an_instance_are_no_quota() -> None:
    assert Sidecar(limit()).gate.quotas() == ()
    assert len(Sidecar(limit(scope="service")).gate.quotas()) == 1
