"""Sessions (Gateway API's sessionPersistence) through real sidecars: requests go where the first one of theirs went."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.process import Command, running_sidecar

SESSION = {"sessionName": "s"}


async def say_port(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(str(request.url.port))
        return socket
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    return web.Response(text=str(sockname[1] if sockname else 0))


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_backend(say_port)) for _ in range(count)]


@asynccontextmanager
async def caller(tmp_path: Path, *mesh: dict[str, Any]) -> AsyncIterator[str]:
    file = documents.write(tmp_path / "mesh.yaml", *mesh)
    async with running_sidecar(None, "--config", str(file), "--outbound", "shop=:0") as sidecar:
        yield sidecar.url("outbound:shop")


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


def shop(apps: list[Backend], session: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    route = documents.http_route("shop", {"backendRefs": [{"name": "shop"}], "sessionPersistence": session, **fields})
    return [documents.endpoints("shop", *(app.address for app in apps)), route]


async def ask(client: aiohttp.ClientSession, url: str, **options: Any) -> tuple[str, str | None]:
    """Who answers, and the cookie that it sets."""
    async with client.get(url, **options) as response:
        assert response.status == 200
        return await response.text(), response.headers.get("Set-Cookie")


async def test_a_browser_stays_with_one_instance_and_is_told_so_once(tmp_path: Path) -> None:
    matches = [{"path": {"type": "PathPrefix", "value": "/cart"}}]
    async with backends(3) as apps, caller(tmp_path, *shop(apps, SESSION, matches=matches)) as url:
        seen: Counter[str] = Counter()
        for _ in range(20):
            async with browser() as client:
                first, cookie = await ask(client, url + "/cart")
                assert cookie is not None
                assert cookie.endswith("; Path=/cart; HttpOnly")
                assert [await ask(client, url + "/cart/a") for _ in range(5)] == [(first, None)] * 5
                seen[first] += 1
        assert len(seen) == 3


async def test_a_session_moves_when_its_instance_does_not_answer(tmp_path: Path) -> None:
    async with backends(2) as apps, running_backend(say_port) as doomed:
        async with caller(tmp_path, *shop([*apps, doomed], SESSION)) as url, browser() as client:
            while (await ask(client, url))[0] != str(doomed.port):
                client.cookie_jar.clear()
            await doomed.stop()
            moved, cookie = await ask(client, url)
            assert moved != str(doomed.port)
            assert cookie is not None
            assert [await ask(client, url) for _ in range(5)] == [(moved, None)] * 5


async def test_a_session_moves_when_its_instance_is_ejected(tmp_path: Path) -> None:
    async with backends(2) as apps:
        policy = documents.traffic_policy("shop", outlier={"consecutiveFailures": 3}, retry={"attempts": 0})
        async with caller(tmp_path, policy, *shop(apps, SESSION)) as url, browser() as client:
            first, _ = await ask(client, url)
            failing = next(app for app in apps if str(app.port) == first)

            async def fail(request: web.Request) -> web.StreamResponse:
                return web.Response(status=500)

            failing.script = fail
            for _ in range(3):
                async with client.get(url) as response:
                    assert response.status == 500
            moved, cookie = await ask(client, url)
            assert moved != first
            assert cookie is not None


async def test_a_session_goes_before_weights_even_0_and_after_a_header(tmp_path: Path) -> None:
    async with backends(2) as (one, two):
        endpoints = [documents.endpoints("shop-v1", one.address), documents.endpoints("shop-v2", two.address)]

        def split(first: int, second: int) -> dict[str, Any]:
            refs = [{"name": "shop-v1", "weight": first}, {"name": "shop-v2", "weight": second}]
            session = {"sessionName": "X-Session", "type": "Header"}
            return documents.http_route("shop", {"backendRefs": refs, "sessionPersistence": session})

        async with aiohttp.ClientSession() as client:
            async with caller(tmp_path, *endpoints, split(0, 1)) as url, client.get(url) as response:
                assert await response.text() == str(two.port)
                headers = {"X-Session": response.headers["X-Session"]}
            async with caller(tmp_path, *endpoints, split(1, 0)) as url:
                assert (await ask(client, url))[0] == str(one.port)
                assert (await ask(client, url, headers=headers))[0] == str(two.port)
                assert (await ask(client, url, headers={"X-Session": "made up"}))[0] == str(one.port)


async def test_a_session_that_is_over_begins_anew(tmp_path: Path) -> None:
    session = {**SESSION, "absoluteTimeout": "1h", "idleTimeout": "1s", "cookieConfig": {"lifetimeType": "Permanent"}}
    async with backends(1) as apps, caller(tmp_path, *shop(apps, session)) as url, browser() as client:
        _, cookie = await ask(client, url)
        assert cookie is not None
        assert cookie.endswith("; Max-Age=3600")
        old = {"Cookie": cookie.partition(";")[0]}
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as forgetful:
            # Until its second has passed nothing is new; then it is renewed, then it is over and begins anew.
            while (again := (await ask(forgetful, url, headers=old))[1]) is None:
                pass
        assert again.partition(";")[0] != old["Cookie"]


async def test_a_websocket_begins_a_session(tmp_path: Path) -> None:
    async with backends(1) as apps, caller(tmp_path, *shop(apps, SESSION)) as url, browser() as client:
        async with client.ws_connect(url) as socket:
            await socket.receive_str()
            assert "Set-Cookie" in socket._response.headers
        assert (await ask(client, url))[1] is None


async def test_an_explanation_says_where_a_session_goes(tmp_path: Path) -> None:
    async with backends(3) as apps:
        file = documents.write(tmp_path / "mesh.yaml", *shop(apps, SESSION))
        flags = ("--config", str(file), "--outbound", "shop=:0")
        async with running_sidecar(None, *flags) as sidecar, browser() as client:
            port, cookie = await ask(client, sidecar.url("outbound:shop"))
            assert cookie is not None
            where = ("--admin", sidecar.address("admin"), "-H", f"Cookie: {cookie.partition(';')[0]}")
            command = await Command.start("sidecar", "explain", "GET", "shop/", *where)
            assert await command.finish() == 0
            assert f"it goes to shop.default, where its session is, at 127.0.0.1:{port}" in "\n".join(command.lines)
