"""What callers get where a service has no answer, through real sidecars, from apps that fail on script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.support import documents
from tests.support.backend import Backend, running_backend, running_raw_server
from tests.support.mesh import metric
from tests.support.ports import free_port
from tests.support.process import Command, refused, running_sidecar

QUICK = {"retry": {"attempts": 0}, "outlier": {"consecutiveFailures": 0}, "timeouts": {"request": "500ms"}}
ALL = ["NoEndpoint", "BreakerOpen", "Failure", "Timeout"]
SORRY = {
    "status": 203,
    "headers": [{"name": "Content-Type", "value": "application/json"}],
    "body": '{"stars": null}',
}


class App:
    """Answers `status` with `headers`, or never."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.text = "fresh"
        self.hangs = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers, text=self.text)


async def say_hello(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"other {request.method} {await request.text()}")


@contextlib.asynccontextmanager
async def falling_back(
    tmp_path: Path, app: str | None, fallback: dict[str, Any], *more: dict[str, Any], **spec: Any
) -> AsyncIterator[tuple[Command, aiohttp.ClientSession, str]]:
    """A caller's sidecar; `app` is where the service is, if it is anywhere."""
    parts = [documents.traffic_policy("app", fallback=fallback, **{**QUICK, **spec}), *more]
    if app is not None:
        parts.append(documents.endpoints("app", app))
    mesh = documents.write(tmp_path / "mesh.yaml", *parts)
    async with (
        running_sidecar(None, "--config", str(mesh), "--outbound", "app=:0") as sidecar,
        aiohttp.ClientSession() as client,
    ):
        yield sidecar, client, sidecar.url("outbound:app")


async def said(response: aiohttp.ClientResponse) -> tuple[int, str | None, str]:
    return response.status, response.headers.get("x-mesh-fallback"), await response.text()


async def test_a_static_answer_takes_the_place_of_each_cause(tmp_path: Path) -> None:
    app = App()
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"causes": ALL, "answer": SORRY}) as (sidecar, client, url),
    ):
        async with client.get(url) as response:
            assert await said(response) == (200, None, "fresh")
        app.status = 500
        async with client.post(url, data=b"x") as response:
            assert await said(response) == (203, "answer", '{"stars": null}')
            assert response.content_type == "application/json"
        async with client.head(url) as response:
            assert (response.status, response.headers["Content-Length"]) == (203, "15")
        app.hangs = True
        async with client.get(url) as response:
            assert await said(response) == (203, "answer", '{"stars": null}')
        app.hangs, app.status = False, 404
        async with client.get(url) as response:
            assert (await said(response))[:2] == (404, None), "the service has answered"
        for cause, count in (("failure", 2), ("timeout", 1)):
            where = {"service": "app.default", "cause": cause, "kind": "answer"}
            assert await metric(sidecar, "mesh_fallbacks_total", **where) == count
        assert await metric(sidecar, "mesh_requests_total", flag="UT", status="2xx", service="app.default") == 1


async def test_no_instance_and_none_that_can_be_reached(tmp_path: Path) -> None:
    async with falling_back(tmp_path, None, {"answer": SORRY}) as (_, client, url), client.get(url) as response:
        assert (await said(response))[:2] == (203, "answer")
    gone = f"127.0.0.1:{free_port()}"
    async with falling_back(tmp_path, gone, {"answer": SORRY}) as (_, client, url), client.get(url) as response:
        assert response.headers["x-mesh-error"] == "connect_failure", "Failure is not among the default causes"


async def test_what_admission_control_sheds_falls_back(tmp_path: Path) -> None:
    app = App()
    app.status = 500
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"answer": SORRY}, admission={"volume": 5}) as (sidecar, client, url),
    ):
        seen = set()
        for _ in range(60):
            async with client.get(url) as response:
                seen.add((await said(response))[:2])
        assert seen == {(500, None), (203, "answer")}
        shed = await metric(sidecar, "mesh_fallbacks_total", cause="breaker")
        assert shed == 60 - len(backend.requests)


async def test_what_an_open_breaker_keeps_back_falls_back(tmp_path: Path) -> None:
    app = App()
    app.status = 500
    breaker = {"type": "Consecutive", "failures": 2, "sleep": "60s"}
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"answer": SORRY}, breaker=breaker) as (_, client, url),
    ):
        seen = []
        for _ in range(4):
            async with client.post(url, data=b"x") as response:
                seen.append((await said(response))[:2])
        assert seen == [(500, None), (500, None), (203, "answer"), (203, "answer")]
        assert len(backend.requests) == 2


async def test_a_fault_made_on_purpose_shows_what_falls_back(tmp_path: Path) -> None:
    app, faults = App(), {"targetRefs": [{"name": "app"}], "faults": [{"abort": {"status": 500}}]}
    policy = {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "FaultPolicy",
        "metadata": {"name": "app"},
        "spec": faults,
    }
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"causes": ["Failure"], "answer": SORRY}, policy) as (_, client, url),
        client.get(url) as response,
    ):
        assert (await said(response))[:2] == (203, "answer")
        assert backend.requests == []


async def test_an_answer_that_breaks_off_before_it_began(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with (
        running_raw_server(hang_up) as port,
        falling_back(tmp_path, f"127.0.0.1:{port}", {"causes": ["Failure"], "answer": SORRY}) as (_, client, url),
        client.get(url) as response,
    ):
        assert (await said(response))[:2] == (203, "answer")


@contextlib.asynccontextmanager
async def beside_another(tmp_path: Path, app: App) -> AsyncIterator[tuple[aiohttp.ClientSession, str, Backend]]:
    async with running_backend(app.answer) as backend, running_backend(say_hello) as other:
        elsewhere = documents.endpoints("other", other.address)
        fallback = {"causes": ALL, "service": "other"}
        async with falling_back(tmp_path, backend.address, fallback, elsewhere) as (_, client, url):
            yield client, url, other


async def test_another_service_is_asked_with_the_body(tmp_path: Path) -> None:
    app = App()
    app.status = 500
    async with beside_another(tmp_path, app) as (client, url, other):
        async with client.put(url, data=b"the body") as response:
            assert await said(response) == (200, "service", "other PUT the body")
        async with client.post(url, data=b"x") as response:
            assert response.status == 500, "it has been executed, maybe: not a second time"
        assert len(other.requests) == 1
        app.hangs = True
        async with client.get(url) as response:
            assert await said(response) == (200, "service", "other GET ")


async def test_a_fallback_has_no_fallback(tmp_path: Path) -> None:
    elsewhere = documents.endpoints("other", f"127.0.0.1:{free_port()}")
    fallback = {"causes": ALL, "service": "other"}
    gone = f"127.0.0.1:{free_port()}"
    async with (
        falling_back(tmp_path, gone, fallback, elsewhere) as (sidecar, client, url),
        client.post(url, data=b"x") as response,
    ):
        assert (response.status, response.headers["x-mesh-error"]) == (503, "connect_failure")
        assert await metric(sidecar, "mesh_fallbacks_total") == 1
        assert await metric(sidecar, "mesh_requests_total", service="app.default", flag="UF") == 1


async def test_grpc_calls_go_to_another_service(tmp_path: Path) -> None:
    async def fail(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "broken")
        return b""

    async def well(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return b"other " + request

    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for answer in (fail, well):
            server = grpc.aio.server()
            method = grpc.unary_unary_rpc_method_handler(answer)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", {"Get": method}),))
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stack.push_async_callback(server.stop, 0)
        safe = {"retry": {"attempts": 0, "safeMethods": ["/shop.Orders/Get"]}}
        elsewhere = documents.endpoints("other", f"127.0.0.1:{ports[1]}", protocol="grpc")
        fallback = {"causes": ["Failure"], "service": "other"}
        _, _, url = await stack.enter_async_context(
            falling_back(tmp_path, f"127.0.0.1:{ports[0]}", fallback, elsewhere, **safe)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(url.removeprefix("http://")))
        call = channel.unary_unary("/shop.Orders/Get")(b"one")
        assert await call == b"other one"
        assert ("x-mesh-fallback", "service") in list(await call.initial_metadata())


async def test_the_last_good_answer_is_given_again_with_its_age(tmp_path: Path) -> None:
    app = App()
    app.headers = {"X-Kept": "1", "Age": "60"}
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"causes": ALL, "lastGood": {}}) as (sidecar, client, url),
    ):
        async with client.get(url + "/a?b=1") as response:
            assert await said(response) == (200, None, "fresh")
        app.status = 503
        async with client.get(url + "/a?b=1") as response:
            assert await said(response) == (200, "last-good", "fresh")
            assert response.headers["X-Kept"] == "1"
            assert 60 <= int(response.headers["Age"]) < 80
        async with client.get(url + "/a?b=2") as response:
            assert (response.status, await response.text()) == (503, "fresh"), "of this there was no good answer"
        async with client.post(url + "/a?b=1") as response:
            assert response.status == 503
        assert await metric(sidecar, "mesh_fallbacks_total", kind="last-good", cause="failure") == 1


async def test_what_is_private_or_long_is_not_kept(tmp_path: Path) -> None:
    app = App()
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"causes": ALL, "lastGood": {}}) as (_, client, url),
    ):
        for headers, text, sent in (
            ({"Cache-Control": "private"}, "mine", {}),
            ({}, "mine", {"Authorization": "Bearer x"}),
            ({}, "mine", {"Cookie": "session=x"}),
            ({}, "x" * 65537, {}),
        ):
            app.headers, app.text = headers, text
            app.status = 200
            async with client.get(url, headers=sent) as response:
                assert (await said(response))[2] == text
            app.status = 500
            for fields in (sent, {}):
                async with client.get(url, headers=fields) as response:
                    assert (await said(response))[:2] == (500, None)
        app.status, app.text = 200, "x" * 65536
        async with client.get(url) as response:
            await response.read()
        app.status = 500
        async with client.get(url) as response:
            assert (await said(response))[:2] == (200, "last-good")


async def test_nobody_gets_what_another_user_was_told(tmp_path: Path) -> None:
    """By whatever field the service knows its users."""
    app = App()
    async with (
        running_backend(app.answer) as backend,
        falling_back(tmp_path, backend.address, {"causes": ALL, "lastGood": {}}) as (_, client, url),
    ):

        async def told(user: str, method: str = "GET") -> tuple[int, str | None, str]:
            async with client.request(method, url + "/me", headers={"X-User-Id": user}) as response:
                return await said(response)

        for user in ("ann", "bob"):
            app.text = f"page of {user}"
            assert await told(user) == (200, None, app.text)
        app.status = 500
        for user in ("ann", "bob"):
            assert await told(user) == (200, "last-good", f"page of {user}")
        assert (await told("eve"))[:2] == (500, None)
        app.status = 200
        assert (await told("ann", "DELETE"))[0] == 200
        app.status = 500
        assert (await told("ann"))[:2] == (500, None), "it was deleted"


async def test_rewritten_requests_find_their_answers_again(tmp_path: Path) -> None:
    """Also those that a gate stops, before the filters have seen them."""
    app = App()
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}
    edit = {"set": [{"name": "X-Seen", "value": "1"}]}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
        "filters": [
            {"type": "URLRewrite", "urlRewrite": rewrite},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": edit},
        ],
        "backendRefs": [{"name": "app"}],
    }
    async with (
        running_backend(app.answer) as backend,
        falling_back(
            tmp_path,
            backend.address,
            {"causes": ["BreakerOpen"], "lastGood": {}},
            documents.http_route("app", rule),
            admission={"volume": 5, "maxPercent": 100},
        ) as (_, client, url),
    ):
        async with client.get(url + "/v1/a") as response:
            assert await said(response) == (200, None, "fresh")
        app.status = 500
        seen = set()
        for _ in range(60):
            async with client.get(url + "/v1/a") as response:
                seen.add((await said(response))[:2])
                assert response.headers.getall("X-Seen") == ["1"]
        assert seen == {(500, None), (200, "last-good")}


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        ({}, "spec.fallback: write one of answer, service and lastGood"),
        ({"answer": SORRY, "service": "other"}, "spec.fallback: write one of answer, service and lastGood"),
        ({"service": "app"}, "spec.fallback.service: 'app' cannot fall back to itself"),
        ({"answer": {"status": 204, "body": "x"}}, "spec.fallback.answer.body: an answer of 204 has no body"),
        ({"answer": {"headers": [{"name": "Host", "value": "x"}]}}, "Host is the mesh's own to write"),
        ({"causes": ["Always"], "answer": SORRY}, "Always"),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path: Path, fallback: dict[str, Any], words: str) -> None:
    mesh = documents.write(tmp_path / "mesh.yaml", documents.traffic_policy("app", fallback=fallback))
    assert words in await refused("run", "--config", str(mesh))
