"""A whole mesh of real processes on a real etcd: control, sidecars, plain apps, and what happens when parts go."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.support import documents
from tests.support.backend import running_backend, running_raw_server
from tests.support.process import Command, running_sidecar
from tests.support.whole_mesh import Mesh, eventually, running_mesh


class Load:
    """GETs without a pause, by a few clients at once; every answer is written down."""

    def __init__(self, mesh: Mesh, url: str, clients: int = 3) -> None:
        """So many may be retried at once, whatever the budget: when an instance dies, all may have to."""
        self._mesh = mesh
        self._url = url
        self._clients = clients
        self.answers: list[tuple[int, str]] = []
        self._stopped = False

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(self._clients)]
        await self.more(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _ask_on(self) -> None:
        while not self._stopped:
            self.answers.append(await self._mesh.get(self._url))

    async def more(self, count: int) -> Counter[str]:
        """What the next `count` answers say."""
        start = len(self.answers)

        async def enough() -> bool:
            return len(self.answers) >= start + count

        await eventually(enough, f"{count} more answers")
        return Counter(text for _, text in self.answers[start : start + count])

    @property
    def failures(self) -> list[tuple[int, str]]:
        return [answer for answer in self.answers if answer[0] != 200]


async def test_instances_come_fall_ill_and_go_and_callers_learn_of_it_by_push(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        well = True

        async def app(request: web.Request) -> web.StreamResponse:
            if request.path == "/healthz":
                return web.Response(status=200 if well else 500)
            return web.Response(text="sick")

        caller = await mesh.sidecar(None, "--outbound", "orders=127.0.0.1:0")
        url = caller.url("outbound:orders")
        assert (await mesh.get(url))[0] == 503

        async with running_backend(app) as backend:
            flags = ("--service", "orders", "--version", "v1", "--health", "http:/healthz")
            sick = await mesh.sidecar(backend.address, *flags)
            await eventually(lambda: says(mesh, url, {"sick"}), "the first instance is called")
            assert (await ready(mesh, sick), await ready(mesh, caller)) == ([], [])
            await mesh.instance("orders", "v1", "well")
            await eventually(lambda: says(mesh, url, {"sick", "well"}), "both instances are called")
            well = False
            await eventually(lambda: says(mesh, url, {"well"}), "the unhealthy instance is not called")
            well = True
            await eventually(lambda: says(mesh, url, {"sick", "well"}), "the recovered instance is called")
            assert await sick.stop() == 0
            await eventually(lambda: says(mesh, url, {"well"}), "the stopped instance is not called")
        keys = await mesh.etcd.ctl("get", "--prefix", "--keys-only", "/mesh/test/instances/orders.default/")
        assert len(keys.split()) == 1


async def ready(mesh: Mesh, sidecar: Command) -> list[str]:
    """What a sidecar's readiness misses."""
    _, text = await mesh.get(sidecar.url("metrics") + "/healthz/ready")
    missing: list[str] = json.loads(text)["missing"]
    return missing


async def says(mesh: Mesh, url: str, expected: set[str]) -> bool:
    """Whether 12 answers in a row are these and no others."""
    return {text for _, text in [await mesh.get(url) for _ in range(12)]} == expected


async def test_a_service_is_discovered_at_the_first_request_for_it(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        await mesh.instance("orders", "v1", "found")
        await eventually(lambda: _healthy(mesh, "orders.default"), "orders is registered")
        caller = await mesh.sidecar(None)
        async with mesh.client.get(caller.url("outbound"), headers={"Host": "orders"}) as response:
            assert (response.status, await response.text()) == (200, "found")


async def _healthy(mesh: Mesh, service: str) -> bool:
    services = (await mesh.status())["services"]
    return any(found["name"] == service and found["healthy"] > 0 for found in services)


async def test_no_request_fails_over_a_canary_a_death_a_control_restart_and_an_etcd_outage(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        await mesh.apply(split(v1=1, v2=0), documents.traffic_policy("shop", balancer={"type": "RoundRobin"}))
        victims = [await mesh.instance("shop", "v1", "v1") for _ in range(2)]
        for _ in range(2):
            await mesh.instance("shop", "v2", "v2")
        caller = await mesh.sidecar(None, "--outbound", "shop=127.0.0.1:0")
        url = caller.url("outbound:shop")
        await eventually(lambda: says(mesh, url, {"v1"}), "v1 is called")
        async with Load(mesh, url) as load:
            await mesh.apply(split(v1=1, v2=1))
            await eventually(lambda: says(mesh, url, {"v1", "v2"}), "the canary gets a share")
            seen = await load.more(400)
            assert 120 <= seen["v2"] <= 280, "half, within 8 standard deviations"

            victims[0][1].process.kill()
            await load.more(300)

            await mesh.kill_control()
            await load.more(200)
            await mesh.start_control()
            await mesh.apply(split(v1=0, v2=1))
            await eventually(lambda: says(mesh, url, {"v2"}), "the restarted control pushes")

            await mesh.etcd.stop()
            await load.more(300)
            await mesh.etcd.start()
            await mesh.apply(split(v1=1, v2=0))
            await eventually(lambda: says(mesh, url, {"v1"}), "control follows etcd again")
        assert load.failures == []
        assert len(load.answers) > 1200


def split(**weights: int) -> dict[str, Any]:
    """shop's route, by version."""
    return documents.http_route(
        "shop", {"backendRefs": [{"name": f"shop-{version}", "weight": weight} for version, weight in weights.items()]}
    )


async def test_a_bad_document_put_by_hand_disturbs_nobody_and_its_author_is_told(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        await mesh.apply(split(v1=1))
        await mesh.instance("shop", "v1", "v1")
        caller = await mesh.sidecar(None, "--outbound", "shop=127.0.0.1:0")
        url = caller.url("outbound:shop")
        await eventually(lambda: says(mesh, url, {"v1"}), "v1 is called")
        bad = split(v1=1)
        bad["spec"]["rules"][0]["backendRefs"][0]["wieght"] = 5
        async with Load(mesh, url) as load:
            await mesh.etcd.ctl("put", "/mesh/test/config/HTTPRoute/default/shop", yaml.safe_dump(bad))
            status_key = "/mesh/test/status/HTTPRoute/default/shop"

            async def refused() -> bool:
                found = await mesh.etcd.ctl("get", "--print-value-only", status_key)
                return '"accepted":false' in found

            await eventually(refused, "the refusal is under the status key")
            found = json.loads(await mesh.etcd.ctl("get", "--print-value-only", status_key))
            assert found["errors"][0]["path"] == "spec.rules[0].backendRefs[0].wieght"
            await load.more(50)
        assert load.failures == []
        status, said, _ = await mesh.run_control("status")
        assert status == 0
        assert "REFUSED" in said
        assert "wieght" in said
        _, metrics = await mesh.get(mesh.rest + "/metrics")
        assert 'mesh_config_rejected_total{kind="HTTPRoute"} 1.0' in metrics


async def test_a_sidecar_restarted_without_control_starts_from_its_last_known_good(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        await mesh.instance("orders", "v1", "still here")
        flags = ("--outbound", "orders=127.0.0.1:0", "--control", mesh.address, "--state-dir", str(tmp_path / "kept"))
        async with running_sidecar(None, *flags) as caller:
            await eventually(lambda: says(mesh, caller.url("outbound:orders"), {"still here"}), "orders is called")

            async def kept() -> bool:
                return any("orders" in file.read_text() for file in (tmp_path / "kept").glob("*.json"))

            await eventually(kept, "the snapshot is on disk")
        await mesh.kill_control()
        async with running_sidecar(None, *flags) as caller:
            assert await mesh.get(caller.url("outbound:orders")) == (200, "still here")
            assert await ready(mesh, caller) == []
            flags = ("--service", "late", "--control", mesh.address, "--state-dir", str(tmp_path / "late"))
            async with running_raw_server(_hang) as port, running_sidecar(f"127.0.0.1:{port}", *flags) as late:

                async def told() -> bool:
                    missing = " ".join(await ready(mesh, late))
                    return "late.default is not registered" in missing and "no configuration" in missing

                await eventually(told, "readiness says that control is missing")


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_rolling_stop_under_load_fails_no_request(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh:
        _, first = await mesh.instance("orders", "v1", "first")
        await mesh.instance("orders", "v1", "second")
        caller = await mesh.sidecar(None, "--outbound", "orders=127.0.0.1:0")
        url = caller.url("outbound:orders")
        await eventually(lambda: says(mesh, url, {"first", "second"}), "both are called")
        async with Load(mesh, url) as load:
            assert await first.stop() == 0
            assert set(await load.more(100)) == {"second"}
        assert load.failures == []


async def test_own_zone_goes_first_and_who_joins_it_starts_slowly(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh, AsyncExitStack() as stack:

        async def instance(name: str, zone: str) -> Command:
            async def say(request: web.Request) -> web.StreamResponse:
                return web.Response(text=name)

            app = await stack.enter_async_context(running_backend(say))
            return await mesh.sidecar(app.address, "--service", "shop", "--zone", zone, "--health", "http:/")

        slow = {"type": "RoundRobin", "slowStart": {"window": "10m", "minWeight": 10}}
        await mesh.apply(documents.traffic_policy("shop", balancer=slow, locality={"mode": "ZoneFirst"}))
        near, _ = await instance("near", "a"), await instance("far", "b")

        async def both_known() -> bool:
            services = (await mesh.status())["services"]
            return [found["healthy"] for found in services if found["name"] == "shop.default"] == [2]

        await eventually(both_known, "both are registered")
        caller = await mesh.sidecar(None, "--zone", "a", "--outbound", "shop=:0")
        url = caller.url("outbound:shop")

        async def answers(count: int) -> Counter[str]:
            found: Counter[str] = Counter()
            for _ in range(count):
                status, text = await mesh.get(url)
                assert status == 200
                found[text] += 1
            return found

        await eventually(lambda: _answers_with(mesh, url, "near"), "somebody answers")
        assert await answers(20) == {"near": 20}

        newer = await instance("newer", "a")
        await eventually(lambda: _answers_with(mesh, url, "newer"), "the new one is asked")
        found = await answers(110)
        assert 8 <= found["newer"] <= 12  # a tenth of the weight: 1 in 11
        assert found["near"] == 110 - found["newer"]

        await asyncio.gather(near.stop(), newer.stop())
        assert await answers(10) == {"far": 10}


async def _answers_with(mesh: Mesh, url: str, text: str) -> bool:
    return await mesh.get(url) == (200, text)
