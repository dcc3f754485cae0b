"""Control's server in this process, on a store in memory: REST by aiohttp's client."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from remora.control.server import ControlServer, ListenError, Ports
from remora.control.store.keys import config_key, instance_key
from remora.control.store.memory import MemoryStore
from remora.model.address import Address
from remora.model.names import service_name

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  rules: [{backendRefs: [{name: reviews-v1}]}]
"""
POLICY = """
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews}
spec: {targetRefs: [{kind: Service, group: "", name: reviews}]}
"""
LOCAL = Ports(Address("127.0.0.1", 0), Address("127.0.0.1", 0))


class Control:
    """A running server and a client of it."""

    def __init__(self, store: MemoryStore, url: str, session: aiohttp.ClientSession) -> None:
        self.store = store
        self._url = url
        self._session = session

    async def call(self, method: str, path: str, body: str | bytes | None = None) -> tuple[int, Any]:
        async with self._session.request(
            method, self._url + path, data=io.BytesIO(body) if isinstance(body, bytes) else body
        ) as response:
            is_json = response.content_type.endswith("json")
            if response.status >= 400:
                assert response.content_type == "application/problem+json"
            return response.status, await response.json(content_type=None) if is_json else await response.text()

    async def until(self, path: str, holds: Callable[[int, Any], bool]) -> Any:
        """The answer to a GET, as soon as it is as wanted."""
        async with asyncio.timeout(5):
            while True:
                status, body = await self.call("GET", path)
                if holds(status, body):
                    return body
                await asyncio.sleep(0.01)


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    store = MemoryStore()
    server = ControlServer(store, "dev", "test")
    ports = await server.start(LOCAL)
    running = asyncio.create_task(server.run())
    async with aiohttp.ClientSession() as session:
        yield Control(store, f"http://{ports.http}", session)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await server.stop()
    await store.close()


async def test_apply_get_delete(control: Control) -> None:
    status, body = await control.call("POST", "/api/v1/apply", f"{ROUTE}---{POLICY}")
    assert status == 200
    assert [result["result"] for result in body["results"]] == ["created", "created"]
    assert body["results"][0]["notes"][1]["message"] == "no instance of reviews-v1.default is known yet"
    _, body = await control.call("POST", "/api/v1/apply", f"{ROUTE.replace('v1}', 'v2}')}---{POLICY}")
    assert [result["result"] for result in body["results"]] == ["configured", "unchanged"]
    _, body = await control.call("GET", "/api/v1/documents/httproute/default/reviews")
    assert body["document"]["spec"]["rules"][0]["backendRefs"] == [{"name": "reviews-v2"}]
    _, body = await control.call("GET", "/api/v1/documents?kind=trafficpolicies&namespace=default")
    assert [item["key"]["name"] for item in body["items"]] == ["reviews"]
    assert (await control.call("GET", "/api/v1/documents?namespace=other"))[1] == {"items": []}
    assert (await control.call("DELETE", "/api/v1/documents/HTTPRoute/default/reviews"))[0] == 200
    status, body = await control.call("DELETE", "/api/v1/documents/HTTPRoute/default/reviews")
    assert (status, body["detail"]) == (404, "there is no HTTPRoute default/reviews")


async def test_a_batch_with_one_bad_document_changes_nothing(control: Control) -> None:
    status, body = await control.call("POST", "/api/v1/apply", f"{ROUTE}---{POLICY.replace('Refs', 'Ref')}")
    assert status == 422
    assert {error["path"] for error in body["errors"]} == {"spec.targetRef", "spec.targetRefs"}
    assert body["errors"][0]["document"] == "TrafficPolicy default/reviews"
    assert (await control.call("GET", "/api/v1/documents"))[1] == {"items": []}


async def test_a_dry_run_changes_nothing(control: Control) -> None:
    _, body = await control.call("POST", "/api/v1/apply?dry-run=true", ROUTE)
    assert body["results"][0]["result"] == "created"
    assert (await control.call("GET", "/api/v1/documents"))[1] == {"items": []}


async def test_a_second_policy_for_a_service_is_refused_at_once(control: Control) -> None:
    await control.call("POST", "/api/v1/apply", POLICY)
    second = POLICY.replace("{name: reviews}", "{name: a}", 1)
    status, body = await control.call("POST", "/api/v1/apply", second)
    assert status == 422
    assert "TrafficPolicy default/reviews, which is older" in body["errors"][0]["message"]
    moved = POLICY.replace("name: reviews}]", "name: ratings}]")
    assert (await control.call("POST", "/api/v1/apply", f"{moved}---{second}"))[0] == 200


async def test_a_bad_document_written_by_hand_shows_and_can_be_replaced(control: Control) -> None:
    key = config_key("dev", "HTTPRoute", "default", "reviews")
    await control.store.put(key, b"kind: HTTPRoute\nmetadata: {name: reviews}\n")
    view = await control.until("/api/v1/status", lambda _, body: bool(body["documents"]))
    (document,) = view["documents"]
    assert document["accepted"] is False
    assert {"path": "spec", "message": "this field is required and missing"} in document["errors"]
    text = (await control.call("GET", "/metrics"))[1]
    assert 'mesh_config_refused{kind="HTTPRoute"} 1.0' in text
    assert (await control.call("POST", "/api/v1/apply", ROUTE))[1]["results"][0]["result"] == "configured"
    await control.until("/api/v1/status", lambda _, body: body["documents"][0]["accepted"])


async def test_status_shows_instances_and_their_health(control: Control) -> None:
    service = service_name("reviews")
    for name, healthy in (("a", "true"), ("b", "false")):
        value = f'{{"address":"10.0.0.1","port":80,"version":"v1","healthy":{healthy}}}'
        await control.store.put(instance_key("dev", service, name), value.encode())
    await control.store.put(instance_key("dev", service, "c"), b"{}")
    view = await control.until("/api/v1/status", lambda _, body: bool(body["problems"]))
    assert {s["name"]: (s["healthy"], len(s["instances"])) for s in view["services"]} == {
        "reviews.default": (1, 2),
        "reviews-v1.default": (1, 2),
    }
    assert view["problems"][0]["key"].endswith("/c")


async def test_probes_and_an_outage(control: Control) -> None:
    await control.until("/healthz/ready", lambda status, _: status == 200)
    assert (await control.call("GET", "/healthz/live"))[0] == 200
    control.store.set_available(False)
    status, body = await control.call("POST", "/api/v1/apply", ROUTE)
    assert (status, body["detail"]) == (503, "the store is away")
    view = await control.until("/api/v1/status", lambda _, body: bool(body["store"]))
    assert "the store" in view["store"]
    assert (await control.call("GET", "/healthz/ready"))[0] == 200
    control.store.set_available(True)
    await control.until("/api/v1/status", lambda _, body: not body["store"])


async def test_not_ready_before_the_store_has_answered() -> None:
    store = MemoryStore()
    store.set_available(False)
    server = ControlServer(store, "dev", "test")
    ports = await server.start(LOCAL)
    running = asyncio.create_task(server.run())
    async with aiohttp.ClientSession() as session:
        control = Control(store, f"http://{ports.http}", session)
        body = await control.until("/healthz/ready", lambda _, body: "the store is away" in str(body))
        assert body["status"] == 503
        store.set_available(True)
        await control.until("/healthz/ready", lambda status, _: status == 200)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await server.stop()
    await store.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/nope", None, 404, "nothing at /nope"),
        ("PUT", "/api/v1/apply", "", 405, "takes POST"),
        ("POST", "/api/v1/apply", "", 422, "no document"),
        ("POST", "/api/v1/apply", b"\xff", 400, "not UTF-8"),
        ("POST", "/api/v1/apply?dry-run=maybe", ROUTE, 400, "dry-run must be true or false"),
        ("POST", "/api/v1/apply", "a: [", 422, "nothing was applied"),
        ("GET", "/api/v1/documents?kind=pods", None, 400, "allowed: HTTPRoute"),
        ("POST", "/api/v1/apply", b"x" * (8 * 1024 * 1024 + 1), 413, "exceed"),
    ],
)
async def test_errors_are_problem_documents(
    control: Control, method: str, path: str, body: str | bytes | None, status: int, said: str
) -> None:
    got, problem = await control.call(method, path, body)
    assert got == status == problem["status"]
    assert said in problem["detail"]


async def test_a_port_in_use_is_told() -> None:
    store = MemoryStore()
    first, second = ControlServer(store, "dev", "a"), ControlServer(store, "dev", "b")
    ports = await first.start(LOCAL)
    with pytest.raises(ListenError) as caught:
        await second.start(Ports(LOCAL.grpc, ports.http))
    assert (caught.value.what, caught.value.address) == ("http", ports.http)
    await second.stop()
    third = ControlServer(store, "dev", "c")
    with pytest.raises(ListenError) as caught:
        await third.start(Ports(ports.grpc, LOCAL.http))
    assert (caught.value.what, caught.value.address) == ("grpc", ports.grpc)
    await third.stop()
    await first.stop()
    await store.close()
