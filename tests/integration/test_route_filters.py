"""HTTPRoutes with everything that they may ask for, through a real sidecar, judged by aiohttp on both sides."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import Script, running_backend
from tests.support.ports import free_port
from tests.support.process import running_sidecar


async def echo(request: web.Request) -> web.StreamResponse:
    headers = {name.lower(): value for name, value in request.headers.items()}
    said = {"path": request.raw_path, "headers": headers}
    return web.json_response(said, headers={"X-Inside": "secret", "X-Kept": "1"})


@asynccontextmanager
async def asking(
    tmp_path: Path, *rules: dict[str, Any], app: Script = echo
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A client, and the URL of `shop`, which is `app`, by a sidecar with these rules."""
    async with running_backend(app) as backend:
        mesh = documents.write(
            tmp_path / "mesh.yaml", documents.endpoints("shop", backend.address), documents.http_route("shop", *rules)
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as sidecar,
            aiohttp.ClientSession() as client,
        ):
            yield client, sidecar.url("outbound:shop")


def rule(*filters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"filters": list(filters), "backendRefs": [{"name": "shop"}], **fields}


def prefix(value: str) -> list[dict[str, Any]]:
    return [{"path": {"type": "PathPrefix", "value": value}}]


async def said_of(client: aiohttp.ClientSession, url: str, **options: Any) -> dict[str, Any]:
    async with client.get(url, **options) as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def test_headers_are_edited_on_the_way_up_and_down(tmp_path: Path) -> None:
    up = {"set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "X-Add", "value": "b"}], "remove": ["X-Gone"]}
    down = {"set": [{"name": "X-Kept", "value": "2"}], "remove": ["x-inside"]}
    edits = rule(
        {"type": "RequestHeaderModifier", "requestHeaderModifier": up},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": down},
    )
    own = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Set", "value": "newest"}]}}
    nearer = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Kept", "value": "3"}]}}
    edits["backendRefs"][0]["filters"] = [own, nearer]
    async with asking(tmp_path, edits) as (client, url):
        headers = {"x-set": "old", "X-Add": "a", "x-gone": "1", "X-Other": "1"}
        async with client.get(url, headers=headers) as response:
            seen = (await response.json())["headers"]
            assert (seen["x-set"], seen["x-other"]) == ("newest", "1")
            assert "x-gone" not in seen
            assert response.headers.getall("X-Kept") == ["2"], "the rule's word comes after the backend's"
            assert "X-Inside" not in response.headers


async def test_host_and_path_are_rewritten(tmp_path: Path) -> None:
    rewrite = {"hostname": "inside.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}
    full = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/index"}}
    rules = (
        rule({"type": "URLRewrite", "urlRewrite": rewrite}, matches=prefix("/v1")),
        rule({"type": "URLRewrite", "urlRewrite": full}, matches=prefix("/any")),
        rule({"type": "URLRewrite", "urlRewrite": rewrite}, matches=prefix("/twice")),
    )
    again = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}}
    rules[2]["backendRefs"][0]["filters"] = [{"type": "URLRewrite", "urlRewrite": again}]
    async with asking(tmp_path, *rules) as (client, url):
        said = await said_of(client, url + "/v1/items?a=1")
        assert (said["path"], said["headers"]["host"]) == ("/v2/items?a=1", "inside.example")
        assert (await said_of(client, url + "/any/thing?b=2"))["path"] == "/index?b=2"
        assert (await said_of(client, url + "/twice/items"))["path"] == "/items", "the backend's word goes before"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_redirects_are_answered_by_the_sidecar(tmp_path: Path, method: str) -> None:
    redirect = {
        "scheme": "https",
        "hostname": "shop.example",
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
        "statusCode": 301,
    }
    told = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Moved", "value": "1"}]}}
    moved = {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}, told], "matches": prefix("/old")}
    async with asking(tmp_path, moved, rule()) as (client, url):
        data = b"x" * 200_000 if method == "POST" else None
        async with client.request(method, url + "/old/a?b=c", allow_redirects=False, data=data) as response:
            assert response.status == 301
            assert response.headers["location"] == "https://shop.example/new/a?b=c"
            assert response.headers["x-moved"] == "1"
        assert (await said_of(client, url + "/other"))["path"] == "/other"


async def test_expressions_match_paths_headers_and_parameters(tmp_path: Path) -> None:
    def tagged(name: str, match: dict[str, Any]) -> dict[str, Any]:
        tag = {"set": [{"name": "X-Rule", "value": name}]}
        return rule({"type": "RequestHeaderModifier", "requestHeaderModifier": tag}, matches=[match])

    rules = (
        tagged("path", {"path": {"type": "RegularExpression", "value": "/items/[0-9]+"}}),
        tagged("cookie", {"headers": [{"type": "RegularExpression", "name": "Cookie", "value": "(.*; *)?g=1(;.*)?"}]}),
        tagged("query", {"queryParams": [{"type": "RegularExpression", "name": "page", "value": "[0-9]{1,3}"}]}),
        tagged("host", {"headers": [{"name": "Host", "value": "shop.example:81"}]}),
        tagged("rest", {}),
    )
    async with asking(tmp_path, *rules) as (client, url):

        async def rule_of(target: str, **headers: str) -> str:
            found: str = (await said_of(client, url + target, headers=headers))["headers"]["x-rule"]
            return found

        assert await rule_of("/items/12?x") == "path"
        assert await rule_of("/items/12/a") == "rest"
        assert await rule_of("/", Cookie="a=2; g=1") == "cookie"
        assert await rule_of("/", Cookie="a=2; gg=1") == "rest"
        assert await rule_of("/?page=12") == "query"
        assert await rule_of("/?page=1234") == "rest"
        assert await rule_of("/", Host="shop.example:81") == "host"


async def test_pages_of_other_origins_may_ask_as_far_as_they_may(tmp_path: Path) -> None:
    cors = {
        "allowOrigins": ["https://*.shop.example"],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-a"],
        "exposeHeaders": ["x-kept"],
        "allowCredentials": True,
        "maxAge": 600,
    }
    async with asking(tmp_path, rule({"type": "CORS", "cors": cors})) as (client, url):
        asked = {"Origin": "https://www.shop.example", "Access-Control-Request-Method": "PUT"}
        async with client.options(url, headers=asked) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://www.shop.example"
            assert response.headers["Access-Control-Allow-Methods"] == "GET, PUT"
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            assert response.headers["Access-Control-Max-Age"] == "600"
        async with client.get(url, headers={"Origin": "https://www.shop.example"}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://www.shop.example"
            assert response.headers["Access-Control-Expose-Headers"] == "x-kept"
        async with client.get(url, headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 200
            assert "Access-Control-Allow-Origin" not in response.headers
        async with client.options(url, headers={**asked, "Origin": "https://evil.example"}) as response:
            assert response.status == 204, "the app is not asked"
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_what_a_route_says_of_other_origins_goes_before_what_its_app_says(tmp_path: Path) -> None:
    async def own(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Access-Control-Allow-Origin": "*"})

    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}
    async with asking(tmp_path, rule(cors), app=own) as (client, url):
        async with client.get(url, headers={"Origin": "https://a.example"}) as response:
            assert response.headers.getall("Access-Control-Allow-Origin") == ["https://a.example"]
        async with client.get(url, headers={"Origin": "https://b.example"}) as response:
            assert response.headers.getall("Access-Control-Allow-Origin") == ["*"]


async def test_an_app_that_is_told_nothing_of_origins_is_read_by_them(tmp_path: Path) -> None:
    async def origin(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers.get("Origin", "none"))

    untold = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Origin"]}}
    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}
    async with (
        asking(tmp_path, rule(cors, untold), app=origin) as (client, url),
        client.get(url, headers={"Origin": "https://a.example"}) as response,
    ):
        assert await response.text() == "none"
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_a_redirect_tells_other_origins_too(tmp_path: Path) -> None:
    elsewhere = {"type": "RequestRedirect", "requestRedirect": {"hostname": "b.example"}}
    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}
    async with (
        asking(tmp_path, {"filters": [cors, elsewhere]}) as (client, url),
        client.get(url, headers={"Origin": "https://a.example"}, allow_redirects=False) as response,
    ):
        assert response.status == 302
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_a_failure_tells_other_origins_too(tmp_path: Path) -> None:
    cors = {"type": "CORS", "cors": {"allowOrigins": ["*"]}}
    mesh = documents.write(
        tmp_path / "mesh.yaml",
        documents.endpoints("shop", f"127.0.0.1:{free_port()}"),
        documents.http_route("shop", rule(cors)),
    )
    async with (
        running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as sidecar,
        aiohttp.ClientSession() as client,
        client.get(sidecar.url("outbound:shop"), headers={"Origin": "https://a.example"}) as response,
    ):
        assert response.status == 503
        assert response.headers["x-mesh-error"] == "connect_failure"
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_the_more_exact_rule_counts_whatever_the_order(tmp_path: Path) -> None:
    def tagged(name: str, match: dict[str, Any]) -> dict[str, Any]:
        tag = {"set": [{"name": "X-Rule", "value": name}]}
        return rule({"type": "RequestHeaderModifier", "requestHeaderModifier": tag}, matches=[match])

    def path(kind: str, value: str) -> dict[str, Any]:
        return {"path": {"type": kind, "value": value}}

    rules = (
        tagged("rest", {}),
        tagged("query", {"queryParams": [{"name": "a", "value": "1"}]}),
        tagged("header", {"headers": [{"name": "x-a", "value": "1"}]}),
        tagged("headers", {"headers": [{"name": "x-a", "value": "1"}, {"name": "x-b", "value": "1"}]}),
        tagged("method", {"method": "GET"}),
        tagged("short", path("PathPrefix", "/a")),
        tagged("long", path("PathPrefix", "/a/b")),
        tagged("expression", path("RegularExpression", "/a/[a-z]+/c")),
        tagged("exact", path("Exact", "/a/b/c")),
    )
    async with asking(tmp_path, *rules) as (client, url):

        async def rule_of(target: str, method: str = "GET", **headers: str) -> str:
            async with client.request(method, url + target, headers=headers) as response:
                found: str = (await response.json())["headers"]["x-rule"]
                return found

        assert await rule_of("/a/b/c") == "exact"
        assert await rule_of("/a/d/c") == "expression"
        assert await rule_of("/a/b/d") == "long"
        assert await rule_of("/a/bc") == "short"
        assert await rule_of("/ab?a=1", **{"X-A": "1", "X-B": "1"}) == "method"
        assert await rule_of("/ab?a=1", "PUT", **{"X-A": "1", "X-B": "1"}) == "headers"
        assert await rule_of("/ab?a=1", "PUT", **{"X-A": "1"}) == "header"
        assert await rule_of("/ab?a=1", "PUT") == "query"
        assert await rule_of("/ab", "PUT") == "rest"


async def test_each_rule_has_its_own_time(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response(text=request.path)

    backends = {"backendRefs": [{"name": "shop"}]}
    rules = (
        {"matches": prefix("/short"), "timeouts": {"request": "100ms"}, **backends},
        {"matches": prefix("/endless"), "timeouts": {"request": "0s"}, **backends},
    )
    async with running_backend(slow) as app:
        mesh = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.http_route("shop", *rules),
            documents.traffic_policy("shop", timeouts={"request": "300ms"}),
        )
        async with (
            running_sidecar(None, "--config", str(mesh), "--outbound", "shop=:0") as sidecar,
            aiohttp.ClientSession() as client,
        ):
            url = sidecar.url("outbound:shop")
            endless = asyncio.create_task(client.get(url + "/endless"))
            for _ in range(5):  # together longer than the service's own time
                async with client.get(url + "/short") as response:
                    assert response.status == 504
                    assert "within 0.1 s" in (await response.json())["detail"]
            released.set()
            async with await endless as response:
                assert response.status == 200
                assert await response.text() == "/endless"


async def test_no_retry_comes_sooner_than_the_rule_says(tmp_path: Path) -> None:
    asked: list[float] = []

    async def failing(request: web.Request) -> web.StreamResponse:
        asked.append(asyncio.get_running_loop().time())
        return web.Response(status=503 if len(asked) < 3 else 200)

    retry = {"attempts": 2, "codes": [503], "backoff": "100ms"}
    async with asking(tmp_path, rule(retry=retry), app=failing) as (client, url), client.get(url) as response:
        assert response.status == 200
    assert len(asked) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(asked)) >= 0.1


async def test_a_parameter_of_any_letters_can_be_matched(tmp_path: Path) -> None:
    match = {"queryParams": [{"type": "RegularExpression", "name": "q", "value": "[^a-z]+"}]}
    async with asking(tmp_path, rule(matches=[match])) as (client, url):
        assert await said_of(client, url + "/?q=%E2%82%AC")
        async with client.get(url + "/?q=euro") as response:
            assert response.status == 404
