"""`sidecar explain` against real sidecars and files, as people run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from remora.control.store.memory import MemoryStore
from tests.support import documents
from tests.support.backend import running_backend
from tests.support.ports import free_port, free_ports
from tests.support.process import Command, refused, running_sidecar
from tests.support.push import endpoints_of, push_control

LOGBOOK = Path(__file__).parents[2] / "examples/logbook/logbook.pb"


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request.path)


async def explain(*arguments: str) -> tuple[int, str]:
    """Exit status and output."""
    command = await Command.start("sidecar", "explain", *arguments)
    status = await command.finish()
    assert not command.errors, command.errors.decode()
    return status, "\n".join(command.lines)


async def facts(*arguments: str) -> dict[str, Any]:
    _, output = await explain(*arguments, "--json")
    found: dict[str, Any] = json.loads(output)
    return found


def mesh_file(tmp_path: Path, *addresses: str) -> Path:
    beta = {"matches": [{"headers": [{"name": "x-group", "value": "beta"}]}], "backendRefs": [{"name": "other"}]}
    rest = {"backendRefs": [{"name": "shop"}], "timeouts": {"request": "2s"}}
    return documents.write(
        tmp_path / "mesh.yaml",
        documents.endpoints("shop", *addresses),
        documents.http_route("shop", beta, rest),
        documents.traffic_policy("shop", retry={"attempts": 1}),
        documents.fault_policy("shop", {"percent": 1, "abort": {"status": 503}}),
    )


async def test_a_live_sidecar_says_what_it_would_do_and_how_its_endpoints_are(tmp_path: Path) -> None:
    async with running_backend(answer) as app:
        gone = f"127.0.0.1:{free_port()}"
        file = mesh_file(tmp_path, app.address, gone)
        flags = ("--config", str(file), "--outbound", "shop=:0", "--faults", "off")
        async with running_sidecar(None, *flags) as caller, aiohttp.ClientSession() as client:
            for _ in range(20):  # of two at random: both have been tried
                async with client.get(caller.url("outbound:shop")) as response:
                    assert response.status == 200
            where = ("--admin", caller.address("admin"))
            told = await facts("GET", "http://shop/a?b=1", *where)
            assert (told["service"], told["route"], told["config"]) == ("shop.default", "shop/rule-1", "file")
            missed, chosen = told["considered"]
            assert (missed["outcome"], missed["why"]) == ("missed", ["header x-group is beta: there is none"])
            assert chosen["outcome"] == "chosen"
            (backend,) = told["backends"]
            seen = {endpoint["address"]: endpoint for endpoint in backend["endpoints"]}
            assert (seen[app.address]["state"], seen[app.address]["connections"] > 0) == ("healthy", True)
            assert seen[gone]["state"] in ("unreachable", "ejected")
            rules = {rule["name"]: rule for rule in told["rules"]}
            assert "--faults off" in rules["fault"]["missed"]
            assert rules["retry"]["source"]["document"] == "TrafficPolicy default/shop"

            status, page = await explain("GET", "shop/a", "-H", "X-Group: beta", *where)
            assert status == 1
            assert "other.default has no endpoint" in page
            status, page = await explain("GET", "/a", "--service", "shop", *where)
            assert status == 0
            assert "by its own port (--service shop)" in page
            assert len(app.requests) == 20  # it asks nobody else


async def test_a_file_can_be_asked_without_a_sidecar(tmp_path: Path) -> None:
    file = mesh_file(tmp_path, "10.0.0.1:80", "10.0.0.2:80")
    status, page = await explain("GET", "http://shop/", "--config", str(file))
    assert status == 0
    assert "it goes to shop.default, at one of 2 usable endpoints" in page
    assert "on purpose (FaultPolicy default/shop): 1 % of requests: aborts with 503, gRPC UNAVAILABLE" in page
    strict = ("--config", str(file), "--outbound-policy", "registry-only")
    status, page = await explain("GET", "http://elsewhere.example/", *strict)
    assert status == 1
    assert "flag NR, x-mesh-error: not_in_registry" in page


async def test_what_cannot_be_answered_is_told_in_one_sentence(tmp_path: Path) -> None:
    assert "names no service" in await refused("explain", "GET", "/a")
    assert "say which request" in await refused("explain")
    assert "leave METHOD, URL and --config out" in await refused("explain", "GET", "--request-id", "1")
    assert "is not a header" in await refused("explain", "GET", "http://shop/", "-H", "nonsense")
    assert "there is no file" in await refused("explain", "GET", "http://shop/", "--config", str(tmp_path / "none"))
    nobody = f"127.0.0.1:{free_port()}"
    assert "no sidecar's admin port" in await refused("explain", "GET", "http://shop/", "--admin", nobody)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_what_has_become_of_a_request_is_told_by_its_id(tmp_path: Path, workers: tuple[str, ...]) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="broken")

    async with running_backend(answer) as well, running_backend(fail) as broken:
        file = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", well.address),
            documents.endpoints("bad", broken.address),
        )
        ports = free_ports(4) if workers else (0, 0, 0, 0)
        bound = ("--outbound", f"shop=:{ports[0]}", "--outbound", f"bad=:{ports[1]}")
        async with (
            running_sidecar(None, "--config", str(file), *bound, *workers) as caller,
            aiohttp.ClientSession() as client,
        ):
            where = ("--admin", caller.address("admin"))
            async with client.get(caller.url("outbound:bad") + "/a?b=1") as response:
                assert response.status == 503
            (request,) = {request.headers["x-request-id"] for request in broken.requests}
            status, page = await explain("--request-id", request, *where)
            assert status == 0
            assert f"request id {request}" in page
            assert page.count(f"{broken.address}  answered 503") == 3
            (told,) = await facts("--request-id", request, *where)
            assert (told["service"], told["status"], told["path"]) == ("bad.default", 503, "/a")
            assert len(told["attempts"]) == 3
            assert ("worker" in told) is bool(workers)

            async with client.get(caller.url("outbound:shop"), headers={"x-request-id": "mine"}) as response:
                assert response.status == 200
            assert [each["status"] for each in await facts("--request-id", "mine", *where)] == [200]
            status, page = await explain("--failures", *where)
            assert status == 0
            assert f"bad.default  GET /a  3 attempts, 503  {request}" in page
            status, page = await explain("--request-id", "unheard-of", *where)
            assert status == 1
            assert "does not remember unheard-of" in page

            told = await facts("GET", "http://shop/", *where)
            assert told["now"] == [f"it goes to shop.default, at {well.address}"]
            (endpoint,) = told["backends"][0]["endpoints"]
            assert endpoint["connections"] > 0


async def test_what_the_mesh_answers_itself_is_told_with_the_sentence(tmp_path: Path) -> None:
    file = documents.write(
        tmp_path / "mesh.yaml",
        documents.endpoints("shop", f"127.0.0.1:{free_port()}"),
        documents.fault_policy("shop", {"abort": {"status": 503}}),
    )
    async with (
        running_sidecar(None, "--config", str(file), "--outbound", "shop=:0") as caller,
        aiohttp.ClientSession() as client,
    ):
        async with client.get(caller.url("outbound:shop")) as response:
            said = await response.json()
        _, page = await explain("--request-id", said["request_id"], "--admin", caller.address("admin"))
        assert "attempts  none: it did not get so far" in page
        assert f"why       flag FI: {said['detail']}" in page


async def test_an_open_breaker_is_told_and_what_answers_instead(tmp_path: Path) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    breaker = {"type": "Consecutive", "failures": 1, "sleep": "60s"}
    text = {"answer": {"status": 200, "body": "closed for today"}, "causes": ["BreakerOpen"]}
    async with running_backend(fail) as app:
        file = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", app.address),
            documents.endpoints("kind", app.address),
            documents.traffic_policy("shop", breaker=breaker),
            documents.traffic_policy("kind", breaker=breaker, fallback=text),
        )
        flags = ("--config", str(file), "--outbound", "shop=:0", "--outbound", "kind=:0")
        async with running_sidecar(None, *flags) as caller, aiohttp.ClientSession() as client:
            for name in ("shop", "kind"):
                async with client.get(caller.url(f"outbound:{name}")) as response:
                    assert response.status == 500
            where = ("--admin", caller.address("admin"))
            status, page = await explain("GET", "http://shop/", *where)
            assert status == 1
            assert "flag UO, x-mesh-error: breaker_open" in page
            told = await facts("GET", "http://shop/", *where)
            (now,) = (rule["now"] for rule in told["rules"] if rule["name"] == "breaker")
            assert now.startswith("it is open, for up to ")
            status, page = await explain("GET", "http://kind/", *where)
            assert status == 0
            assert "its fallback answers instead" in page


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_a_limit_that_is_used_up_is_told_where_it_is_enforced(tmp_path: Path, workers: tuple[str, ...]) -> None:
    async with running_backend(answer) as app:
        (inbound,) = free_ports(1)
        file = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("shop", f"127.0.0.1:{inbound}"),
            documents.rate_limit_policy("shop", {"name": "all", "requests": 2, "per": "1h"}),
        )
        flags = ("--config", str(file), "--service", "shop", "--inbound", f"127.0.0.1:{inbound}", *workers)
        async with running_sidecar(app.address, *flags) as sidecar, aiohttp.ClientSession() as client:
            asked = ("GET", "http://shop/a", "--admin", sidecar.address("admin"))
            status, page = await explain(*asked, "--inbound")
            assert status == 0
            assert f"it goes to shop.default, at {app.address}" in page
            assert "(RateLimitPolicy default/shop)" in page
            for _ in range(20):  # of workers each has its part
                async with client.get(sidecar.url("inbound")) as response:
                    await response.read()
            told = await facts(*asked, "--inbound")
            (limit,) = (rule for rule in told["rules"] if rule["name"] == "rate limit")
            assert "used up, for " in limit["now"]
            if not workers:
                assert (told["failing"]["flag"], told["failing"]["status"]) == ("RL", 429)
            status, page = await explain(*asked)
            assert status == 0  # its callers cannot know
            assert "enforced by the service's own sidecars" in page
    async with running_sidecar(None, "--config", str(file)) as caller:
        assert "no app is behind" in await refused(
            "explain", *asked[:2], "--inbound", "--admin", caller.address("admin")
        )


async def test_policies_alone_can_be_asked_before_they_are_applied(tmp_path: Path) -> None:
    file = documents.write(
        tmp_path / "route.yaml",
        documents.http_route("shop", {"name": "all", "backendRefs": [{"name": "shop-v2", "weight": 1}]}),
    )
    status, page = await explain("GET", "http://shop/", "--config", str(file))
    assert status == 0
    assert "it goes to shop-v2.default; the file does not say where its instances are" in page
    assert "no endpoint" not in page


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_control_is_asked_for_what_is_not_in_use_yet(tmp_path: Path, workers: tuple[str, ...]) -> None:
    port = free_port()
    async with push_control(MemoryStore()) as control:
        control.put(endpoints_of("shop", "shop-1"))
        flags = ("--control", str(control.address), "--state-dir", str(tmp_path), "--outbound-policy", "registry-only")
        flags = (*flags, "--outbound-listen", f"127.0.0.1:{port}", *workers)
        async with running_sidecar(None, *flags) as caller:
            where = ("--admin", caller.address("admin"))
            told = await facts("GET", "http://shop/", *where)
            assert (told["service"], len(told["now"])) == ("shop.default", 1)
            assert told["now"][0].startswith("it goes to shop.default, at ")
            told = await facts("GET", "http://nobody/", *where)
            assert told["failing"]["code"] == "not_in_registry"


async def test_json_that_is_made_a_grpc_call_is_told_as_that_call(tmp_path: Path) -> None:
    file = documents.write(
        tmp_path / "mesh.yaml",
        documents.rate_limit_policy(
            "logbook", {"name": "get", "requests": 5, "matches": [{"path": {"value": "/logbook.v1.Logbook/GetDive"}}]}
        ),
    )
    app = f"127.0.0.1:{free_port()}"
    flags = ("--protocol", "grpc", "--grpc-json", str(LOGBOOK), "--config", str(file), "--service", "logbook")
    async with running_sidecar(app, *flags) as sidecar:
        where = ("--inbound", "--admin", sidecar.address("admin"))
        status, page = await explain("GET", "/v1/divers/ada/dives/1", *where)
        assert status == 0
        assert "is made a call of /logbook.v1.Logbook/GetDive, by gRPC" in page
        assert "now: room for 5 more" in page  # it counts for the limit of the call
        told = await facts("DELETE", "/v1/divers/ada/dives/1", *where)
        assert (told["failing"]["status"], told["failing"]["code"]) == (405, "json_not_bound")
