"""Who gets a request: balancers, zones and slow start through real sidecars, before apps that do as the test says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend, running_raw_server
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until, until_async

QUIET = {"consecutiveFailures": 0}
"""No ejection: only the balancer decides."""

GONE = {"consecutiveFailures": 1, "baseEjection": "5m", "maxEjectedPercent": 100}
"""Whoever fails once is left out."""


class App:
    """Answers its name; `status` and `delay_s` are as the test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.delay_s = 0.0
        self.hold: asyncio.Event | None = None
        """Until then requests wait."""
        self.held = 0
        self.backend: Backend | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.hold is not None:
            self.held += 1
            await self.hold.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return web.Response(text=self.name, status=self.status)


@dataclasses.dataclass
class Caller:
    """A sidecar that calls `shop`, and the apps of `shop` by name."""

    sidecar: Command
    client: aiohttp.ClientSession
    apps: Mapping[str, App]
    path: Path

    async def ask(self, path: str = "/", **options: Any) -> tuple[int, str]:
        """Status, and who answered."""
        async with self.client.get(self.sidecar.url("outbound:shop") + path, **options) as response:
            return response.status, await response.text()

    async def count(self, requests: int, **options: Any) -> Counter[str]:
        """Who answers so many requests, all well, one after the other."""
        found: Counter[str] = Counter()
        for _ in range(requests):
            status, name = await self.ask(**options)
            assert status == 200
            found[name] += 1
        return found

    async def cluster(self) -> dict[str, Any]:
        """What the sidecar shows of `shop`."""
        async with self.client.get(self.sidecar.url("admin") + "/clusters") as response:
            clusters: list[dict[str, Any]] = await response.json()
        return next(found for found in clusters if found["name"] == "shop.default")

    async def shares(self) -> dict[str, float]:
        """By app, what `/clusters` says that it gets."""
        names = {app.backend.port: name for name, app in self.apps.items() if app.backend is not None}
        return {names[found["port"]]: found["share"] for found in (await self.cluster())["endpoints"]}


@asynccontextmanager
async def calling(
    tmp_path: Path, endpoints: Mapping[str, Mapping[str, Any]], *flags: str, **policy: Any
) -> AsyncIterator[Caller]:
    """A caller of `shop`, whose endpoints are by name what ServiceEndpoints say of them."""
    async with AsyncExitStack() as stack:
        apps = {name: App(name) for name in endpoints}
        said = []
        for name, app in apps.items():
            app.backend = await stack.enter_async_context(running_backend(app.answer))
            said.append({"address": "127.0.0.1", "port": app.backend.port, **endpoints[name]})
        shop = documents.endpoints("shop")
        shop["spec"]["endpoints"] = said
        path = documents.write(tmp_path / "mesh.yaml", shop, documents.traffic_policy("shop", **policy))
        flags = ("--config", str(path), "--outbound", "shop=:0", *flags)
        sidecar = await stack.enter_async_context(running_sidecar(None, *flags))
        client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield Caller(sidecar, client, apps, path)


async def test_own_zone_first_then_spill_over_then_failover(tmp_path: Path) -> None:
    zones = {"a1": "a", "a2": "a", "a3": "a", "a4": "a", "b1": "b", "b2": "b", "c1": "c"}
    endpoints = {name: {"zone": zone} for name, zone in zones.items()}
    locality = {"mode": "ZoneFirst", "failover": ["b"]}
    async with calling(tmp_path, endpoints, "--zone", "a", locality=locality, outlier=GONE) as caller:
        assert set(await caller.count(40)) == {"a1", "a2", "a3", "a4"}

        # Half of the zone fails: 2 of 4, times 1.4, is 70 %; the rest goes to the next zone, nothing beyond it.
        await fail(caller, "a1", "a2")
        found = await caller.count(400)
        assert set(found) == {"a3", "a4", "b1", "b2"}
        assert abs(found["a3"] + found["a4"] - 280) < 46  # five standard deviations
        levels = (await caller.cluster())["levels"]
        assert [level["zones"] for level in levels] == [["a"], ["b"], ["c"]]
        assert [round(level["share"], 3) for level in levels] == [0.7, 0.3, 0.0]

        await fail(caller, "a3", "a4")
        assert set(await caller.count(40)) == {"b1", "b2"}
        await fail(caller, "b1", "b2")
        assert set(await caller.count(20)) == {"c1"}


async def fail(caller: Caller, *names: str) -> None:
    """Let these fail until they are left out; callers see nothing of it, since they are tried elsewhere."""
    for name in names:
        caller.apps[name].status = 503
    async with asyncio.timeout(20):
        while any([(await caller.shares())[name] for name in names]):
            assert (await caller.ask())[0] == 200


async def test_an_unreachable_zone_costs_callers_nothing(tmp_path: Path) -> None:
    endpoints = {"a1": {"zone": "a", "port": free_port()}, "b1": {"zone": "b"}, "c1": {"zone": "c"}}
    locality = {"mode": "ZoneFirst", "failover": ["b"]}
    async with calling(tmp_path, endpoints, "--zone", "a", locality=locality, outlier=QUIET) as caller:
        assert set(await caller.count(20)) == {"b1"}


async def test_without_a_zone_of_its_own_a_sidecar_uses_all(tmp_path: Path) -> None:
    endpoints = {"a1": {"zone": "a"}, "b1": {"zone": "b"}}
    async with calling(tmp_path, endpoints, locality={"mode": "ZoneFirst"}, balancer={"type": "RoundRobin"}) as caller:
        assert await caller.count(20) == {"a1": 10, "b1": 10}


async def test_who_comes_back_starts_slowly(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}}
    outlier = {"consecutiveFailures": 1, "baseEjection": "300ms"}
    slow = {"type": "RoundRobin", "slowStart": {"window": "2s", "minWeight": 5}}
    async with calling(tmp_path, endpoints, balancer=slow, outlier=outlier) as caller:
        assert await caller.shares() == {"x": 0.5, "y": 0.5}
        caller.apps["x"].status = 503
        async with asyncio.timeout(20):
            while (await caller.shares())["x"]:
                await caller.ask()
        caller.apps["x"].status = 200
        seen: list[float] = []
        async with asyncio.timeout(20):
            while not seen or seen[-1] < 0.5:
                seen.append((await caller.shares())["x"])
        grown = [share for share in seen if share]
        assert grown == sorted(grown)
        assert grown[0] < 0.2
        assert len(set(grown)) > 4
        assert await caller.count(20) == {"x": 10, "y": 10}


async def test_a_new_share_is_what_requests_see(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}}
    outlier = {"consecutiveFailures": 1, "baseEjection": "200ms"}
    slow = {"type": "RoundRobin", "slowStart": {"window": "10m", "minWeight": 10}}
    async with calling(tmp_path, endpoints, balancer=slow, outlier=outlier) as caller:
        caller.apps["x"].status = 503
        async with asyncio.timeout(20):
            while (await caller.shares())["x"]:
                await caller.ask()
            caller.apps["x"].status = 200
            while not (await caller.shares())["x"]:
                pass
        found = await caller.count(110)
        assert 8 <= found["x"] <= 13


async def test_a_ring_keeps_users_where_they_are_by_header(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}, "z": {}}
    ring = {"type": "RingHash", "hashOn": [{"type": "Header", "name": "X-User"}]}
    async with calling(tmp_path, endpoints, balancer=ring, outlier=GONE) as caller:
        users = [f"user-{number}" for number in range(60)]
        before = {user: (await caller.ask(headers={"x-user": user}))[1] for user in users}
        assert set(before.values()) == {"x", "y", "z"}
        for user in users:
            assert (await caller.ask(headers={"x-user": user}))[1] == before[user]

        # Another sidecar agrees.
        flags = ("--config", str(caller.path), "--outbound", "shop=:0")
        async with running_sidecar(None, *flags) as other:
            agreeing = dataclasses.replace(caller, sidecar=other)
            for user in users:
                assert (await agreeing.ask(headers={"x-user": user}))[1] == before[user]

        # Who loses their instance goes elsewhere, all others stay.
        await fail_for(caller, "x", next(user for user in users if before[user] == "x"))
        after = {user: (await caller.ask(headers={"x-user": user}))[1] for user in users}
        assert {user: name for user, name in after.items() if before[user] != "x"} == {
            user: name for user, name in before.items() if name != "x"
        }
        assert {after[user] for user in users if before[user] == "x"} == {"y", "z"}

        # Without a key any will do.
        assert set(await caller.count(40)) == {"y", "z"}


async def fail_for(caller: Caller, name: str, *users: str) -> None:
    caller.apps[name].status = 503
    async with asyncio.timeout(20):
        while (await caller.shares())[name]:
            for user in users:
                assert (await caller.ask(headers={"x-user": user}))[0] == 200


async def test_maglev_keeps_users_by_a_cookie_that_is_made_for_them(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}, "z": {}}
    maglev = {"type": "Maglev", "hashOn": [{"type": "Cookie", "name": "place", "ttl": "1h"}]}
    async with calling(tmp_path, endpoints, balancer=maglev) as caller:
        places = set()
        for _ in range(12):
            url = caller.sidecar.url("outbound:shop")
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as user:
                async with user.get(url) as response:
                    assert response.headers["set-cookie"].endswith("; Path=/; HttpOnly; Max-Age=3600")
                    place = await response.text()
                for _ in range(5):
                    async with user.get(url) as response:
                        assert "set-cookie" not in response.headers
                        assert await response.text() == place
            places.add(place)
        assert len(places) > 1


async def test_keys_of_query_and_address(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}, "z": {}}
    keys = [{"type": "QueryParam", "name": "cart"}, {"type": "SourceAddress"}]
    async with calling(tmp_path, endpoints, balancer={"type": "RingHash", "hashOn": keys}) as caller:
        carts = {cart: {(await caller.ask(f"/?cart={cart}"))[1] for _ in range(3)} for cart in range(20)}
        assert all(len(names) == 1 for names in carts.values())
        assert len(set().union(*carts.values())) > 1
        assert len(await caller.count(10)) == 1
        callers = {
            number: {(await caller.ask(headers={"X-Forwarded-For": f"10.0.0.{number}, 10.1.1.1"}))[1] for _ in range(3)}
            for number in range(20)
        }
        assert all(len(names) == 1 for names in callers.values())
        assert len(set().union(*callers.values())) > 1


async def test_one_hot_key_spreads_when_load_is_bounded(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}, "z": {}}
    ring = {"type": "RingHash", "hashOn": [{"type": "Header", "name": "x-user"}], "boundedLoad": 125}
    async with calling(tmp_path, endpoints, balancer=ring) as caller:
        for app in caller.apps.values():
            app.delay_s = 0.5
        answers = await asyncio.gather(*(caller.ask(headers={"x-user": "alice"}) for _ in range(12)))
        found = Counter(name for _, name in answers)
        assert set(found) == {"x", "y", "z"}
        assert max(found.values()) <= 5  # 1.25 · 12 / 3


async def test_peak_ewma_avoids_the_slow_the_failing_and_those_that_turn_away(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"good": {}, "slow": {}, "failing": {}, "full": {}}
    async with calling(
        tmp_path, endpoints, balancer={"type": "PeakEWMA"}, outlier=QUIET, retry={"attempts": 0}
    ) as caller:
        caller.apps["good"].delay_s = 0.005
        caller.apps["slow"].delay_s = 0.1
        caller.apps["failing"].status = 500
        caller.apps["full"].status = 429
        found = Counter([(await caller.ask())[1] for _ in range(100)])
        assert set(found) == set(endpoints)  # each was tried
        # The two that fail are drawn together once in six, and then one of them has to take it.
        assert found["failing"] + found["full"] < 100 / 6 + 20
        assert found["good"] > 35
        scores = {found["port"]: found for found in (await caller.cluster())["endpoints"]}
        by_name = {name: scores[app.backend.port] for name, app in caller.apps.items() if app.backend is not None}
        assert by_name["good"]["latency_s"] < by_name["slow"]["latency_s"] < by_name["failing"]["latency_s"]
        assert by_name["good"]["score"] < by_name["slow"]["score"] < by_name["full"]["score"]


async def test_where_health_is_always_believed_nobody_is_left(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}}
    async with calling(
        tmp_path, endpoints, balancer={"panicThreshold": 0}, outlier=GONE, retry={"attempts": 0}
    ) as caller:
        for app in caller.apps.values():
            app.status = 500
        async with asyncio.timeout(20):
            while any((await caller.shares()).values()):
                await caller.ask()
        assert await metric(caller.sidecar, "mesh_panic", service="shop.default") == 0
        status, text = await caller.ask()
        assert (status, json.loads(text)["code"]) == (503, "no_healthy_endpoint")


async def test_where_too_few_are_well_health_is_not_believed(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"x": {}, "y": {}, "z": {}}
    round_robin = {"type": "RoundRobin", "panicThreshold": 60}
    async with calling(tmp_path, endpoints, balancer=round_robin, outlier=GONE, retry={"attempts": 0}) as caller:
        caller.apps["x"].status = caller.apps["y"].status = 500
        async with asyncio.timeout(20):
            while not await metric(caller.sidecar, "mesh_panic", service="shop.default"):
                await caller.ask()
        assert (await caller.cluster())["levels"][0]["panic"] is True
        found = Counter([(await caller.ask())[1] for _ in range(30)])
        assert found == {"x": 10, "y": 10, "z": 10}


async def test_opaque_connections_stay_by_the_address_that_they_come_from(tmp_path: Path) -> None:
    def greeter(name: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)
            await reader.read()

        return greet

    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(running_raw_server(greeter(name))) for name in (b"x", b"y", b"z")]
        ring = {"type": "RingHash", "hashOn": [{"type": "SourceAddress"}]}
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", *(f"127.0.0.1:{port}" for port in ports), protocol="tcp"),
            documents.traffic_policy("shop", balancer=ring),
        )
        flags = ("--config", str(mesh), "--outbound", "shop=127.0.0.1:0")
        sidecar = await stack.enter_async_context(running_sidecar(None, *flags))

        async def greeted(caller: str) -> bytes:
            port = sidecar.port("outbound:shop")
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(caller, 0))
            async with asyncio.timeout(10):
                name = await reader.read(1)
            writer.close()
            return name

        found = {number: {await greeted(f"127.0.0.{number}") for _ in range(3)} for number in range(1, 16)}
        assert all(len(names) == 1 for names in found.values())
        assert len(set().union(*found.values())) > 1


async def test_versions_are_services_of_their_own_with_the_balancer_of_the_service(tmp_path: Path) -> None:
    """A subset by version is a Service of Gateway API here: docs/decisions/0003."""
    endpoints: dict[str, dict[str, Any]] = {
        "one-a": {"version": "v1"},
        "one-b": {"version": "v1"},
        "two-a": {"version": "v2"},
        "two-b": {"version": "v2"},
    }
    ring = {"type": "RingHash", "hashOn": [{"type": "Header", "name": "x-user"}]}
    async with calling(tmp_path, endpoints, balancer=ring) as caller:
        beta = {
            "matches": [{"headers": [{"name": "x-group", "value": "beta"}]}],
            "backendRefs": [{"name": "shop-v2"}],
        }
        route = documents.http_route("shop", beta, {"backendRefs": [{"name": "shop-v1"}]})
        path = documents.write(tmp_path / "route.yaml", route)
        path.write_text(caller.path.read_text() + "---\n" + path.read_text())
        flags = ("--config", str(path), "--outbound", "shop=:0")
        async with running_sidecar(None, *flags) as routed:
            caller = dataclasses.replace(caller, sidecar=routed)
            seen: dict[str, set[str]] = {"": set(), "beta": set()}
            for group, places in seen.items():
                for number in range(20):
                    headers = {"x-user": f"user-{number}", "x-group": group}
                    answers = {(await caller.ask(headers=headers))[1] for _ in range(3)}
                    assert len(answers) == 1
                    places |= answers
            assert seen == {"": {"one-a", "one-b"}, "beta": {"two-a", "two-b"}}


@pytest.mark.parametrize("kind", ["LeastRequest", "RoundRobin", "Random", "PeakEWMA"])
async def test_weights_count_in_all_balancers(tmp_path: Path, kind: str) -> None:
    endpoints = {"light": {"weight": 1}, "heavy": {"weight": 3}}
    async with calling(tmp_path, endpoints, balancer={"type": kind}) as caller:
        assert await caller.shares() == {"light": 0.25, "heavy": 0.75}
        for app in caller.apps.values():
            app.delay_s = 0.002  # so that none is faster than the other by accident
        found = await caller.count(200)
        if kind == "RoundRobin":
            assert found == {"light": 50, "heavy": 150}
        elif kind != "PeakEWMA":
            assert abs(found["light"] - 50) < 31  # five standard deviations


@pytest.mark.parametrize("kind", ["RingHash", "Maglev"])
async def test_weights_count_for_keys(tmp_path: Path, kind: str) -> None:
    endpoints = {"light": {"weight": 1}, "heavy": {"weight": 3}}
    balancer = {"type": kind, "hashOn": [{"type": "Header", "name": "x-user"}]}
    async with calling(tmp_path, endpoints, balancer=balancer) as caller:
        found = Counter([(await caller.ask(headers={"x-user": f"user-{number}"}))[1] for number in range(200)])
        assert 20 <= found["light"] <= 90


async def test_least_request_gives_little_to_the_slow(tmp_path: Path) -> None:
    endpoints: dict[str, dict[str, Any]] = {"slow": {}, "fast": {}}
    async with calling(tmp_path, endpoints) as caller:
        caller.apps["slow"].delay_s = 1.0
        caller.apps["fast"].delay_s = 0.005
        left = iter(range(200))

        async def go_on() -> Counter[str]:
            return Counter([(await caller.ask())[1] for _ in left])

        found: Counter[str] = sum(await asyncio.gather(*(go_on() for _ in range(8))), Counter())
        assert found.total() == 200
        assert 0 < 2 * found["slow"] < found["fast"]


@pytest.mark.parametrize("kind", ["LeastRequest", "RingHash"])
async def test_endpoints_come_and_go_while_requests_are_in_flight(tmp_path: Path, kind: str) -> None:
    """Nobody loses a request, and who was ejected stays so."""
    endpoints: dict[str, dict[str, Any]] = {"goes": {}, "stays": {}, "fails": {}, "comes": {}}
    balancer: dict[str, Any] = {"type": kind}
    if kind == "RingHash":
        balancer["hashOn"] = [{"type": "Header", "name": "x-user"}]
    async with calling(tmp_path, endpoints, balancer=balancer, outlier={"consecutiveFailures": 1}) as caller:

        async def use(*names: str) -> None:
            shop, policy = list(yaml.safe_load_all(whole))
            ports = [app.backend.port for name, app in caller.apps.items() if app.backend is not None and name in names]
            shop["spec"]["endpoints"] = [each for each in shop["spec"]["endpoints"] if each["port"] in ports]
            documents.write(caller.path, shop, policy)
            caller.sidecar.process.send_signal(signal.SIGHUP)
            await until_async(lambda: has(len(names)))

        async def has(count: int) -> bool:
            return len((await caller.cluster())["endpoints"]) == count

        async def ask_users() -> Counter[str]:
            answers = await asyncio.gather(*(caller.ask(headers={"x-user": str(number)}) for number in range(40)))
            assert {status for status, _ in answers} == {200}
            return Counter(name for _, name in answers)

        whole = caller.path.read_text()
        await use("goes", "stays", "fails")
        await fail_for(caller, "fails", *map(str, range(40)))
        caller.apps["fails"].status = 200

        hold = caller.apps["goes"].hold = asyncio.Event()
        in_flight = [asyncio.ensure_future(ask_users()) for _ in range(3)]
        await until(lambda: caller.apps["goes"].held >= 10)
        await use("stays", "fails", "comes")
        assert set(await ask_users()) == {"stays", "comes"}
        hold.set()
        answered: Counter[str] = sum(await asyncio.gather(*in_flight), Counter())
        assert answered.total() == 120
        assert answered["goes"] >= 10
        assert not answered["fails"]
        cluster = await caller.cluster()
        assert (cluster["requests"], [each["active"] for each in cluster["endpoints"]]) == (0, [0, 0, 0])
        assert await metric(caller.sidecar, "mesh_ejections_total") == 1
