"""Routes from people's documents to requests: real control on a real etcd, real sidecars, grpcio and aiohttp around."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import running_backend
from tests.support.grpc_app import Echo, running_grpc
from tests.support.process import Command
from tests.support.waiting import until
from tests.support.whole_mesh import Mesh, eventually, running_mesh

GATEWAY = "gateway.networking.k8s.io/v1"


def route(kind: str, name: str, namespace: str, parent: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    spec = {"parentRefs": [{"kind": "Service", "group": "", **parent}], "rules": list(rules)}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GATEWAY, "kind": kind, "metadata": metadata, "spec": spec}


def grant(namespace: str, of: str, kind: str = "HTTPRoute") -> dict[str, Any]:
    return {
        "apiVersion": GATEWAY,
        "kind": "ReferenceGrant",
        "metadata": {"name": f"{of}-may", "namespace": namespace},
        "spec": {
            "from": [{"kind": kind, "group": "gateway.networking.k8s.io", "namespace": of}],
            "to": [{"kind": "Service", "group": ""}],
        },
    }


def setting(name: str, value: str, where: str = "request") -> dict[str, Any]:
    field = f"{where}HeaderModifier"
    return {"type": field[0].upper() + field[1:], field: {"set": [{"name": name, "value": value}]}}


@asynccontextmanager
async def by_host(mesh: Mesh, *flags: str) -> AsyncIterator[Any]:
    """Asks services by their names, through a sidecar of its own."""
    caller = await mesh.sidecar(None, *flags)

    async def ask(host: str, path: str = "/", **headers: str) -> tuple[int, str]:
        found = {"Host": host, **headers}
        async with mesh.client.get(caller.url("outbound") + path, headers=found) as response:
            return response.status, await response.text()

    yield ask


async def test_a_mirror_gets_copies_though_its_callers_never_name_it(tmp_path: Path) -> None:
    copies: list[str] = []

    async def shadow(request: web.Request) -> web.StreamResponse:
        if request.path != "/healthz":
            copies.append(request.headers["x-request-id"])
        return web.Response(text="shadow")

    async with running_mesh(tmp_path) as mesh, running_backend(shadow) as app:
        await mesh.instance("shop", "v1", "shop")
        await mesh.sidecar(app.address, "--service", "shop-next", "--health", "http:/healthz")
        mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shop-next"}}}
        rule = {"filters": [mirror], "backendRefs": [{"name": "shop"}]}
        await mesh.apply(documents.http_route("shop", rule))
        async with by_host(mesh) as ask:

            async def mirrored() -> bool:
                assert (await ask("shop", **{"X-Request-Id": "told"}))[1] == "shop"
                return "told" in copies

            await eventually(mirrored, "a copy has come")


async def test_a_canary_grows_without_a_failure_and_keeps_its_users(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(60)]

    def split(old: int, new: int) -> dict[str, Any]:
        refs = [{"name": "shop-v1", "weight": old}, {"name": "shop-v2", "weight": new}]
        return documents.http_route("shop", {"backendRefs": refs})

    async with running_mesh(tmp_path) as mesh, by_host(mesh) as ask, by_host(mesh) as other:
        await mesh.instance("shop", "v1", "v1")
        await mesh.instance("shop", "v2", "v2")
        sticky = {"stickyBy": [{"type": "Header", "name": "X-User"}]}
        await mesh.apply(split(100, 0), documents.traffic_policy("shop", split=sticky))

        async def versions(asking: Any) -> dict[str, str]:
            found = {user: await asking("shop", **{"X-User": user}) for user in users}
            assert {status for status, _ in found.values()} == {200}
            return {user: text for user, (_, text) in found.items()}

        async def all_old() -> bool:
            return set((await versions(ask)).values()) == {"v1"}

        await eventually(all_old, "v2 has a weight of 0")
        before: set[str] = set()
        for share in (20, 50, 80, 100):
            await mesh.apply(split(100 - share, share))
            least = len(before)

            async def grown() -> bool:
                return len(in_canary(await versions(ask))) > least  # noqa: B023

            await eventually(grown, f"more than {least} users have v2")
            now = in_canary(await versions(ask))
            assert before <= now
            assert in_canary(await versions(other)) == now
            before = now
        assert before == set(users)


def in_canary(versions: dict[str, str]) -> set[str]:
    return {user for user, version in versions.items() if version == "v2"}


async def test_another_namespace_is_referred_to_only_with_its_leave(tmp_path: Path) -> None:
    async with running_mesh(tmp_path) as mesh, by_host(mesh, "--namespace", "shop") as ask:
        await mesh.instance("front", "v1", "front", "--namespace", "shop")
        await mesh.instance("payments", "v1", "payments", "--namespace", "pay")
        to_pay = {"backendRefs": [{"name": "payments", "namespace": "pay"}]}
        wanted = route("HTTPRoute", "front", "shop", {"name": "front"}, to_pay)
        file = documents.write(tmp_path / "front.yaml", wanted)
        status, _, errors = await mesh.run_control("apply", "-f", str(file))
        assert status != 0
        assert "no ReferenceGrant there allows HTTPRoutes of shop" in errors
        assert (await ask("front"))[1] == "front"
        await mesh.apply(grant("pay", of="shop"))
        await mesh.apply(wanted)

        async def reaches_payments() -> bool:
            return (await ask("front"))[1] == "payments"

        await eventually(reaches_payments, "the route counts")


async def test_a_route_of_callers_is_for_their_namespace_alone(tmp_path: Path) -> None:
    async def app(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers.get("X-Route", "none"))

    async with running_mesh(tmp_path) as mesh, running_backend(app) as backend:
        await mesh.sidecar(backend.address, "--service", "payments", "--namespace", "pay", "--health", "http:/healthz")
        own = {"backendRefs": [{"name": "payments"}], "filters": [setting("X-Route", "producer")]}
        theirs = {
            "backendRefs": [{"name": "payments", "namespace": "pay"}],
            "filters": [setting("X-Route", "consumer")],
        }
        await mesh.apply(
            route("HTTPRoute", "payments", "pay", {"name": "payments"}, own),
            route("HTTPRoute", "payments", "shop", {"name": "payments", "namespace": "pay"}, theirs),
        )
        async with (
            by_host(mesh, "--namespace", "shop") as in_shop,
            by_host(mesh, "--namespace", "pay") as in_pay,
            by_host(mesh) as elsewhere,
        ):

            async def settled() -> bool:
                host = "payments.pay.svc.cluster.local"
                found = [(await ask(host))[1] for ask in (in_shop, in_pay, elsewhere)]
                return found == ["consumer", "producer", "producer"]

            await eventually(settled, "each namespace has its routes")


async def test_grpc_routes_in_full(tmp_path: Path) -> None:
    apps = {name: Echo(name) for name in ("v1", "v2", "shadow")}
    async with running_mesh(tmp_path) as mesh:
        async with (
            running_grpc(apps["v1"]) as one,
            running_grpc(apps["v2"]) as two,
            running_grpc(apps["shadow"]) as three,
        ):
            for address, service, version in ((one, "echo", "v1"), (two, "echo", "v2"), (three, "shadow", "v1")):
                flags = ("--service", service, "--version", version, "--protocol", "grpc", "--health", "tcp")
                await mesh.sidecar(address, *flags)
            await mesh.apply(echo_routes())
            caller = await mesh.sidecar(None)
            await _ask_by_grpc(caller)
            await until(lambda: "Unary" in apps["shadow"].calls)


def echo_routes() -> dict[str, Any]:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow"}}}
    beta = {"method": {"service": "echo.Echo", "method": "Unary"}, "headers": [{"name": "x-beta", "value": "1"}]}
    return route(
        "GRPCRoute",
        "echo",
        "default",
        {"name": "echo"},
        {"name": "service", "matches": [{"method": {"service": "echo.Echo"}}], "backendRefs": [{"name": "echo-v1"}]},
        {
            "name": "method",
            "matches": [{"method": {"service": "echo.Echo", "method": "Unary"}}],
            "filters": [setting("x-sent", "rule"), setting("x-seen", "down", "response"), mirror],
            "backendRefs": [
                {"name": "echo-v1", "weight": 0},
                {"name": "echo-v2", "weight": 1, "filters": [setting("x-sent", "backend")]},
            ],
        },
        {
            "name": "beta",
            "matches": [beta],
            "backendRefs": [{"name": "echo-v1"}],
            "sessionPersistence": {"sessionName": "x-session", "type": "Header"},
        },
    )


async def _ask_by_grpc(caller: Command) -> None:
    options = (("grpc.default_authority", "echo"),)
    async with grpc.aio.insecure_channel(caller.address("outbound"), options=options) as channel:
        unary = channel.unary_unary("/echo.Echo/Unary")

        async def in_use() -> bool:
            try:
                return bool(await unary(b"", timeout=5) == b"v2")
            except grpc.aio.AioRpcError:
                return False

        await eventually(in_use, "the more special rule counts, and the backend of weight 0 gets nothing")
        call = unary(b"a", timeout=5)
        assert await call == b"av2"
        assert dict(await call.initial_metadata())["x-seen"] == "down"
        down = channel.unary_stream("/echo.Echo/Down")
        assert [item async for item in down(b"2", timeout=5)] == [b"0", b"1"]
        beta = unary(b"a", metadata=(("x-beta", "1"),), timeout=5)
        assert await beta == b"av1"
        token = dict(await beta.initial_metadata())["x-session"]
        again = unary(b"a", metadata=(("x-beta", "1"), ("x-session", token)), timeout=5)
        assert await again == b"av1"
        assert "x-session" not in dict(await again.initial_metadata())
        nowhere = channel.unary_unary("/other.Service/Method")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await nowhere(b"", timeout=5)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
