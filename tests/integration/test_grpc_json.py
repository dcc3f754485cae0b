"""gRPC-JSON transcoding before a grpcio server, asked over HTTP by aiohttp and by h2."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import library
from tests.support.grpc_app import running_grpc
from tests.support.library import Library
from tests.support.process import Command, running_sidecar

TIMEOUT = aiohttp.ClientTimeout(20)


class Caller:
    """Asks a sidecar with --grpc-json."""

    def __init__(self, session: aiohttp.ClientSession, sidecar: Command, app: Library) -> None:
        self.session = session
        self.sidecar = sidecar
        self.app = app

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """(status, the body's JSON)."""
        url = self.sidecar.url("inbound") + path
        async with self.session.request(method, url, timeout=TIMEOUT, **options) as answer:
            body = await answer.read()
            assert answer.content_type == "application/json", (answer.status, body)
            return answer.status, json.loads(body)

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self.session.request(method, self.sidecar.url("inbound") + path, timeout=TIMEOUT, **options)


@asynccontextmanager
async def calling(*flags: str, protocol: str = "grpc") -> AsyncIterator[Caller]:
    app = Library()
    async with running_grpc(app) as address:
        own = ("--protocol", protocol, "--grpc-json", str(library.descriptor_set()))
        async with running_sidecar(address, *own, *flags) as sidecar, aiohttp.ClientSession() as session:
            yield Caller(session, sidecar, app)


async def test_the_documented_examples_of_google_api_http() -> None:
    async with calling() as caller:
        message = {"text": "", "messageId": "123456", "revision": "0", "userId": ""}
        assert await caller.ask("GET", "/v1/messages/123456") == (200, message)
        expected = {**message, "revision": "2", "sub": {"subfield": "foo"}}
        assert await caller.ask("GET", "/v1/messages/123456?revision=2&sub.subfield=foo") == (200, expected)
        assert await caller.ask("GET", "/v1/users/me/messages/123456") == (200, {**message, "userId": "me"})
        hi = {**message, "text": "Hi!"}
        assert await caller.ask("PATCH", "/v1/messages/123456", json={"text": "Hi!"}) == (200, hi)
        assert await caller.ask("PUT", "/v1/messages/123456", json={"message": {"text": "Hi!"}}) == (200, hi)


async def test_paths_bodies_and_answers_of_all_kinds() -> None:
    async with calling() as caller:
        book = {
            "name": "shelves/a b/books/c%2Fd",
            "title": "Größe",
            "pages": "9007199254740993",
            "genre": "GENRE_NOVEL",
            "tags": [],
            "publishedAt": "2026-11-21T08:00:00Z",
            "cover": "/wA=",
            "price": 0.0,
            "lent": False,
        }
        assert await caller.ask("GET", "/v1/shelves/a%20b/books/c%2Fd") == (200, book)
        created = await caller.ask("POST", "/v1/shelves/1/books?book_id=2", json={"title": "T"})
        assert created == (200, "T")
        _, archived = await caller.ask("POST", "/v1/shelves/1/books/2:archive", json={"reason": "old", "name": "not"})
        assert (archived["name"], archived["title"]) == ("shelves/1/books/2", "old")
        assert await caller.ask("DELETE", "/v1/shelves/1/books/2") == (200, {})
        async with caller.request("GET", "/v1/files/a/b.txt") as answer:
            assert (answer.status, answer.content_type, await answer.text()) == (200, "text/plain", "a/b.txt")
        headers = {"content-type": "image/png"}
        _, written = await caller.ask("PUT", "/v1/files/a/b.png", data=b"\x89PNG", headers=headers)
        assert (written["name"], written["title"], written["cover"]) == ("a/b.png", "image/png", "iVBORw==")
        assert (await caller.ask("REPORT", "/v1/search", json={"text": "t"}))[1]["text"] == "t"
        assert (await caller.ask("GET", "/v1/search/deep?sub.subfield=no"))[1]["sub"] == {"subfield": "deep"}


async def test_a_server_stream_is_lines_that_come_one_by_one() -> None:
    async with calling() as caller:
        async with caller.request("GET", "/v1/shelves/1/books?pageSize=200") as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            lines = [json.loads(line) async for line in answer.content]
        assert [line["result"]["name"] for line in lines] == [f"shelves/1/books/{number}" for number in range(200)]
        async with caller.request("GET", "/v1/shelves/1/books?pageSize=5&failAfter=2") as answer:
            assert answer.status == 200
            lines = [json.loads(line) async for line in answer.content]
        assert [*line_keys(lines)] == ["result", "result", "error"]
        assert lines[-1]["error"] == {"code": 15, "message": "the rest burnt", "details": []}
        missing = await caller.ask("GET", "/v1/shelves/1/books?failAfter=-1")
        assert missing == (404, {"code": 5, "message": "no such shelf", "details": []})
        async with caller.request("GET", "/v1/shelves/1/books") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with caller.request("GET", "/v1/shelves/1:follow?pageSize=3") as answer:
            assert (answer.content_type, await answer.text()) == ("text/csv", "0\n1\n2\n")
        with pytest.raises(aiohttp.ClientPayloadError):
            async with caller.request("GET", "/v1/shelves/1:follow?pageSize=3&failAfter=1") as answer:
                await answer.read()


def line_keys(lines: list[dict[str, Any]]) -> list[str]:
    return [key for line in lines for key in line]


HTTP_OF_GRPC = dict(enumerate((0, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)))


async def test_statuses_are_those_of_grpc_gateway_with_details() -> None:
    async with calling() as caller:
        for code in range(1, 17):
            status, body = await caller.ask("GET", f"/v1/fail/{code}?message=f%C3%BCr+dich")
            assert status == HTTP_OF_GRPC[code]
            assert (body["code"], body["message"]) == (code, "für dich")
        info = {"reason": "TOLD_TO", "domain": "library", "metadata": {}}
        assert body["details"] == [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info},
            {"@type": "type.googleapis.com/no.Such", "value": "AQ=="},
        ]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code", "says"),
    [
        ("GET", "/nowhere", {}, 404, 5, "no method is bound to GET /nowhere"),
        ("POST", "/v1/messages/1", {}, 405, 12, "does not take POST"),
        ("POST", "/v1/upload", {"json": {}}, 501, 12, "streams its requests"),
        ("GET", "/v1/messages/1?revision=x", {}, 400, 3, "revision"),
        ("GET", "/v1/messages/1?revision=1&revision=2", {}, 400, 3, "given 2 times"),
        ("GET", "/v1/messages/1?sub=x", {}, 400, 3, "sub is a message"),
        ("GET", "/v1/messages/%ff", {}, 400, 3, "not UTF-8"),
        ("GET", "/v1/search?exact=maybe", {}, 400, 3, "neither true nor false"),
        ("GET", "/v1/search?genres=NONE", {}, 400, 3, "NONE"),
        ("GET", "/v1/search?since=today", {}, 400, 3, "since"),
        ("GET", "/v1/search?shelf=1&room=2", {}, 400, 3, "oneof"),
        ("GET", "/v1/search?extra=%7B", {}, 400, 3, "not JSON"),
        ("GET", "/v1/search?subs.subfield=1", {}, 400, 3, "repeated"),
        ("PATCH", "/v1/messages/1", {"data": b"{"}, 400, 3, "not JSON"),
        ("PATCH", "/v1/messages/1", {"data": b"[" * 100_000}, 400, 3, "nested too deeply"),
        ("PATCH", "/v1/messages/1", {"json": {"text": 5}}, 400, 3, "text"),
        ("PUT", "/v1/messages/1", {"json": [1]}, 400, 3, "not a JSON object"),
        ("PATCH", "/v1/messages/1", {"json": [1]}, 400, 3, "message"),
        ("PATCH", "/v1/messages/1", {"json": {"unknown": 1}}, 400, 3, 'no field named "unknown"'),
        ("GET", "/v1/messages/1?utm_source=x", {}, 400, 3, "has no field utm_source"),
        ("PATCH", "/v1/messages/1", {"data": {"text": "form"}}, 415, 3, "send application/json"),
        ("PATCH", "/v1/messages/1", {"json": {}, "headers": {"content-encoding": "br"}}, 415, 3, "content coding"),
        ("PATCH", "/v1/messages/1", {"data": b" " * (4 * 1024 * 1024 + 1)}, 413, 8, "longer than"),
    ],
)
async def test_what_does_not_fit_is_told(
    json_caller: Caller, method: str, path: str, options: dict[str, Any], status: int, code: int, says: str
) -> None:
    if isinstance(options.get("data"), bytes):
        options = {"data": io.BytesIO(options["data"]), "headers": {"content-type": "application/json"}}
    found, body = await json_caller.ask(method, path, **options)
    assert (found, body["code"]) == (status, code), body
    assert says in body["message"]
    assert body["details"] == []
    assert json_caller.app.calls == []


@pytest.fixture
async def json_caller() -> AsyncIterator[Caller]:
    async with calling() as caller:
        yield caller


async def test_head_options_and_expect() -> None:
    async with calling() as caller:
        async with caller.request("HEAD", "/v1/messages/1") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert answer.content_length == 54
        async with caller.request("OPTIONS", "/v1/messages/1") as answer:
            assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PATCH, PUT")
        async with caller.request("HEAD", "/v1/shelves/1/books") as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "GET, OPTIONS, POST")
        async with caller.request("POST", "/v1/messages/1", json={}) as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, PATCH, PUT")
        status, body = await caller.ask("PATCH", "/v1/messages/1", json={"text": "t"}, expect100=True)
        assert (status, body["text"]) == (200, "t")


async def test_metadata_deadlines_and_trace_go_along() -> None:
    async with calling() as caller:
        headers = {"X-User": "ada", "Authorization": "Bearer t", "Grpc-Timeout": "5S", "x-request-id": "r1"}
        headers |= {"Grpc-Metadata-Tenant": "t1", "Grpc-Metadata-Grpc-Encoding": "gzip", "Grpc-Metadata-Te": "x"}
        async with caller.request("GET", "/v1/messages/1", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["x-library"] == "open"
            assert "grpc-status" not in answer.headers
        seen = caller.app.metadata
        assert (seen["x-user"], seen["authorization"], seen["x-request-id"]) == ("ada", "Bearer t", "r1")
        assert seen["traceparent"].startswith("00-")
        assert (seen["tenant"], "grpc-metadata-tenant" in seen, "te" in seen) == ("t1", False, False)
        assert caller.app.time_left is not None
        assert 0 < caller.app.time_left <= 5


async def test_failures_of_the_mesh_are_statuses_in_json() -> None:
    from tests.support.ports import free_port

    flags = ("--protocol", "grpc", "--grpc-json", str(library.descriptor_set()))
    async with running_sidecar(f"127.0.0.1:{free_port()}", *flags) as sidecar, aiohttp.ClientSession() as session:
        async with session.get(sidecar.url("inbound") + "/v1/messages/1", timeout=TIMEOUT) as answer:
            assert (answer.status, answer.headers["x-mesh-error"]) == (503, "connect_failure")
            body = await answer.json()
    assert body["code"] == 14
    assert "Connection refused" in body["message"]


async def test_an_app_that_speaks_more_gets_what_is_not_bound() -> None:
    """With --protocol auto a request without a binding is the app's own; it is HTTP/2 here, and no gRPC."""
    async with calling(protocol="auto") as caller:
        assert (await caller.ask("GET", "/v1/messages/1"))[0] == 200
        async with caller.request("GET", "/nowhere") as answer:
            assert answer.status in (400, 415, 502, 503)
            assert answer.headers["x-mesh-error"] != ""


async def test_pages_of_named_origins_may_call() -> None:
    async with calling("--cors-origin", "https://shop.example") as caller:
        asks = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        async with caller.request("OPTIONS", "/v1/messages/1", headers=asks) as answer:
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
            assert "PATCH" in answer.headers["access-control-allow-methods"]
        async with caller.request("OPTIONS", "/v1/messages/1", headers={**asks, "Origin": "https://evil"}) as answer:
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers
        async with caller.request("GET", "/v1/messages/1", headers={"Origin": "https://shop.example"}) as answer:
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent.pb", "there is no file"),
        ("text.pb", "is not a descriptor set"),
        ("alone.pb", "nothing to transcode"),
        ("lonely.pb", "--include_imports"),
        ("field.pb", "binds 'nothing', which t.Request has not"),
        ("template.pb", "neither a word nor *"),
        ("twice.pb", "bound twice"),
    ],
)
async def test_bad_descriptor_sets_end_with_one_sentence(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / name
    if name == "text.pb":
        path.write_text("hello")
    elif name != "absent.pb":
        _compile_bad(tmp_path, path)
    command = await Command.start("sidecar", "run", "--upstream", ":1", "--grpc-json", str(path))
    assert await command.finish() == 2
    (line,) = command.errors.decode().splitlines()
    assert line.startswith("sidecar: --grpc-json: ")
    assert says in line


_BAD = """
syntax = "proto3";
package t;
import "google/api/annotations.proto";
%s
message Request { string name = 1; }
service S { rpc Get(Request) returns (Request) { option (google.api.http) = { %s }; } }
"""


def _compile_bad(folder: Path, path: Path) -> None:
    proto = folder / f"{path.stem}.proto"
    if path.stem == "alone":
        proto.write_text('syntax = "proto3"; message M {}')
        library.compile_set(proto, path)
    elif path.stem == "lonely":
        (folder / "other.proto").write_text('syntax = "proto3"; message M {}')
        proto.write_text(_BAD % ('import "other.proto"; message O { M m = 1; }', 'get: "/a"'))
        library.compile_set(proto, path)
    else:
        rules = {
            "field": 'get: "/{nothing}"',
            "template": 'get: "/a*b"',
            "twice": 'get: "/a/{name}" additional_bindings { get: "/a/{name=*}" }',
        }
        proto.write_text(_BAD % ("", rules[path.stem]))
        library.compile_set(proto, path, "--include_imports")


async def test_callers_that_leave_cancel_the_call() -> None:
    async with calling() as caller:
        host, _, port = caller.sidecar.address("inbound").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/shelves/1/books?pageSize=2000000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        async with asyncio.timeout(20):
            await reader.readuntil(b"books/10")
            writer.close()
            async with caller.session.get(caller.sidecar.url("metrics") + "/metrics") as answer:
                text = await answer.text()
            while 'flag="DC"' not in text:
                await asyncio.sleep(0.05)
                async with caller.session.get(caller.sidecar.url("metrics") + "/metrics") as answer:
                    text = await answer.text()


async def test_long_bodies_are_converted_beside_the_loop() -> None:
    """Others are answered while a body is converted that takes seconds; and what was long arrives whole."""
    async with calling() as caller:
        words = ["w"] * 200_000
        body = json.dumps({"words": words}).encode()
        headers = {"content-type": "application/json"}
        long = asyncio.create_task(caller.ask("REPORT", "/v1/search", data=io.BytesIO(body), headers=headers))
        answered = 0
        while not long.done():
            async with asyncio.timeout(1):
                assert (await caller.ask("GET", "/v1/messages/1"))[0] == 200
            answered += 1
        status, answer = await long
        assert (status, answer["words"]) == (200, words)
        assert answered > 5


async def test_long_messages_of_a_stream_keep_their_order() -> None:
    async with calling() as caller:
        title = "t" * 20_000
        async with caller.request("GET", f"/v1/shelves/1/books?pageSize=40&titleBytes={len(title)}") as answer:
            lines = [json.loads(line) for line in (await answer.read()).splitlines()]
        assert [line["result"]["title"] for line in lines] == [title if n % 2 else "" for n in range(40)]


async def test_calls_by_json_are_counted_as_grpc() -> None:
    async with calling("--service", "library") as caller:
        await caller.ask("GET", "/v1/messages/1")
        async with caller.request("GET", "/v1/shelves/1/books?pageSize=3") as answer:
            await answer.read()
        async with caller.session.get(caller.sidecar.url("metrics") + "/metrics") as answer:
            text = await answer.text()
    labels = 'direction="inbound",method="/library.v1.Library/ListBooks",service="library.default"'
    assert f"mesh_grpc_streams_total{{{labels}}} 1.0" in text
    assert f'mesh_grpc_messages_total{{{labels},way="request"}} 1.0' in text
    assert f'mesh_grpc_messages_total{{{labels},way="response"}} 3.0' in text


async def test_refusals_are_counted_and_have_a_code() -> None:
    async with calling("--service", "library") as caller:
        for path, code in (("/nowhere", "json_not_bound"), ("/v1/messages/1?revision=x", "json_request")):
            async with caller.request("GET", path) as answer:
                assert answer.headers["x-mesh-error"] == code
        async with caller.session.get(caller.sidecar.url("metrics") + "/metrics") as answer:
            text = await answer.text()
    for flag in ("NR", "DPE"):
        labels = (
            f'direction="inbound",flag="{flag}",method="GET",peer="",route="",service="library.default",status="4xx"'
        )
        assert f"mesh_requests_total{{{labels}}} 1.0" in text


async def test_several_workers_translate() -> None:
    async with calling("--workers", "2") as caller:
        for _ in range(4):
            async with caller.request("GET", "/v1/messages/1", headers={"connection": "close"}) as answer:
                assert answer.status == 200


async def test_cors_origin_alone_says_what_it_goes_with() -> None:
    command = await Command.start("sidecar", "run", "--upstream", ":1", "--cors-origin", "https://shop.example")
    assert await command.finish() == 2
    assert command.errors == (
        b"sidecar: --cors-origin goes with --protocol grpc or --grpc-json: other apps answer pages themselves\n"
    )
