"""Gray releases through real sidecars: who gets the new version by header, by chance, or for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support import documents
from tests.support.backend import Script, running_backend
from tests.support.process import running_sidecar

USERS = [f"user-{number}" for number in range(200)]


def saying(text: str) -> Script:
    async def say(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    return say


@asynccontextmanager
async def two_versions() -> AsyncIterator[list[dict[str, Any]]]:
    """The endpoints of `reviews-v1` and `reviews-v2`, which say `v1` and `v2`."""
    async with running_backend(saying("v1")) as one, running_backend(saying("v2")) as two:
        yield [documents.endpoints("reviews-v1", one.address), documents.endpoints("reviews-v2", two.address)]


@asynccontextmanager
async def caller(tmp_path: Path, *mesh: dict[str, Any]) -> AsyncIterator[str]:
    """The URL of `reviews` by a sidecar of its own."""
    file = documents.write(tmp_path / "mesh.yaml", *mesh)
    async with running_sidecar(None, "--config", str(file), "--outbound", "reviews=:0") as sidecar:
        yield sidecar.url("outbound:reviews")


def canary(one: int, two: int) -> dict[str, Any]:
    return {"backendRefs": [{"name": "reviews-v1", "weight": one}, {"name": "reviews-v2", "weight": two}]}


async def versions_of(url: str, **options: Any) -> dict[str, str]:
    """What each user gets, asked twice."""
    found: dict[str, str] = {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        for user in USERS * 2:
            async with client.get(url, headers={"X-User": user}, **options) as response:
                said = await response.text()
                assert found.setdefault(user, said) == said
    return found


async def test_a_user_stays_on_every_sidecar_and_while_the_canary_grows(tmp_path: Path) -> None:
    policy = documents.traffic_policy("reviews", split={"stickyBy": [{"type": "Header", "name": "X-User"}]})
    got: list[dict[str, str]] = []
    async with two_versions() as endpoints:
        for weights in ((90, 10), (90, 10), (60, 40)):
            route = documents.http_route("reviews", canary(*weights))
            async with caller(tmp_path, *endpoints, policy, route) as url:
                got.append(await versions_of(url))
    first, again, more = got
    assert first == again
    assert all(more[user] == "v2" for user, version in first.items() if version == "v2")
    assert 5 <= Counter(first.values())["v2"] <= 40
    assert 50 <= Counter(more.values())["v2"] <= 110


async def test_a_browser_keeps_its_version_by_a_cookie_that_the_sidecar_makes(tmp_path: Path) -> None:
    key = {"type": "Cookie", "name": "gray", "ttl": "1h"}
    policy = documents.traffic_policy("reviews", split={"stickyBy": [key]})
    async with (
        two_versions() as endpoints,
        caller(tmp_path, *endpoints, policy, documents.http_route("reviews", canary(1, 1))) as url,
    ):
        seen: Counter[str] = Counter()
        for _ in range(30):
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
                async with browser.get(url) as response:
                    version = await response.text()
                    cookie = response.cookies["gray"]
                    assert (cookie["max-age"], cookie["path"], cookie["httponly"]) == ("3600", "/", True)
                for _ in range(3):
                    async with browser.get(url) as response:
                        assert await response.text() == version
                        assert "Set-Cookie" not in response.headers
            seen[version] += 1
        assert min(seen["v1"], seen["v2"]) >= 3


async def test_a_header_decides_and_a_weight_of_0_takes_nothing(tmp_path: Path) -> None:
    beta = {"matches": [{"headers": [{"name": "x-group", "value": "beta"}]}], "backendRefs": [{"name": "reviews-v2"}]}
    async with (
        two_versions() as endpoints,
        caller(tmp_path, *endpoints, documents.http_route("reviews", canary(1, 0), beta)) as url,
    ):
        assert set((await versions_of(url)).values()) == {"v1"}
        async with aiohttp.ClientSession() as client, client.get(url, headers={"X-Group": "beta"}) as response:
            assert await response.text() == "v2"


async def test_all_weights_0_is_an_error_that_says_so(tmp_path: Path) -> None:
    async with (
        two_versions() as endpoints,
        caller(tmp_path, *endpoints, documents.http_route("reviews", canary(0, 0))) as url,
        aiohttp.ClientSession() as client,
        client.get(url) as response,
    ):
        assert response.status == 500
        assert response.headers["x-mesh-error"] == "no_backend"
