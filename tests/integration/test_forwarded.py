"""X-Forwarded-* by the trust rule, and Via, over real sockets: HTTP/1 and HTTP/2 on either side."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from remora.sidecar.listener.forwarding import PRIVATE_NETWORKS, Forwarding, Network
from tests.support.h2_peer import Call, h2_client, h2_server, request_headers
from tests.support.inbound import raw_app, running_inbound
from tests.support.process import running_sidecar

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ELSEWHERE = (ipaddress.ip_network("192.0.2.0/24"),)
SAID = {
    "X-Forwarded-For": "203.0.113.7, 10.0.0.1",
    "x-forwarded-proto": "https",
    "X-Forwarded-Host": "shop.example",
    "X-Forwarded-User": "root",
    "Forwarded": "for=203.0.113.7",
}


def told(head: bytes) -> dict[str, str]:
    """What a head says of its way, by lower-case name; a name that comes twice fails."""
    found: dict[str, str] = {}
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        if name.lower().startswith("x-forwarded-") or name.lower() in ("forwarded", "via"):
            assert name.lower() not in found, name
            found[name.lower()] = value
    return found


def request(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a:81", *lines, "")).encode()


def said(**changed: str) -> dict[str, str]:
    return {name.lower(): value for name, value in SAID.items()} | changed


MADE_ANEW = {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "a:81"}


@pytest.mark.parametrize("trusted", [PRIVATE_NETWORKS, ELSEWHERE])
async def test_the_app_is_told_who_called(trusted: tuple[Network, ...]) -> None:
    async with raw_app(OK) as app, running_inbound(app.port, forwarding=Forwarding(trusted)) as inbound:
        await inbound.ask(request(), until=b"ok")
    assert told(app.heads[0]) == MADE_ANEW


async def test_a_trusted_caller_is_believed_and_named_behind_the_others() -> None:
    async with raw_app(OK) as app, running_inbound(app.port, forwarding=Forwarding(PRIVATE_NETWORKS)) as inbound:
        await inbound.ask(request(*(f"{name}: {value}" for name, value in SAID.items())), until=b"ok")
        await inbound.ask(request("X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2"), until=b"ok")
        await inbound.ask(request("X-Forwarded-For: "), until=b"ok")
    assert told(app.heads[0]) == said(**{"x-forwarded-for": "203.0.113.7, 10.0.0.1, 127.0.0.1"})
    assert told(app.heads[1]) == {**MADE_ANEW, "x-forwarded-for": "1.1.1.1, 2.2.2.2, 127.0.0.1"}
    assert told(app.heads[2]) == MADE_ANEW


async def test_anyone_else_is_not_believed() -> None:
    async with raw_app(OK) as app, running_inbound(app.port, forwarding=Forwarding(ELSEWHERE)) as inbound:
        await inbound.ask(request(*(f"{name}: {value}" for name, value in SAID.items())), until=b"ok")
        await inbound.ask(request("X-Forwarded-User: root", "X-Kept: 1"), until=b"ok")
    assert told(app.heads[0]) == MADE_ANEW
    assert told(app.heads[1]) == MADE_ANEW
    assert b"X-Kept: 1\r\n" in app.heads[1]


async def test_another_host_on_the_same_connection() -> None:
    async with raw_app(OK) as app, running_inbound(app.port, forwarding=Forwarding(PRIVATE_NETWORKS)) as inbound:
        await inbound.ask(request() + request().replace(b"a:81", b"b"), until=b"okHTTP/1.1 200 OK")
        await inbound.ask(request(), until=b"ok")
    assert [told(head)["x-forwarded-host"] for head in app.heads] == ["a:81", "b", "a:81"]


@pytest.mark.parametrize("trusted", [PRIVATE_NETWORKS, ELSEWHERE])
async def test_the_rule_holds_over_http2(trusted: tuple[Network, ...]) -> None:
    heads: list[dict[str, str]] = []

    async def answer(call: Call) -> None:
        await call.finish()
        heads.append({name.decode(): value.decode() for name, value in call.headers})
        call.send_headers([(b":status", b"200")], end=True)

    fields = [(name.lower().encode(), value.encode()) for name, value in SAID.items()]
    async with (
        h2_server(answer) as app,
        running_inbound(app.port, "h2", forwarding=Forwarding(trusted)) as inbound,
        h2_client(inbound.port) as client,
    ):
        for _ in range(2):
            await client.request(request_headers("GET", "/", *fields)).finish()
        await client.request(request_headers()).finish()
    names = {name.lower() for name in SAID}
    believed = said(**{"x-forwarded-for": "203.0.113.7, 10.0.0.1, 127.0.0.1"}) if trusted is PRIVATE_NETWORKS else None
    anew = {**MADE_ANEW, "x-forwarded-host": "app"}
    found = [{name: value for name, value in head.items() if name in names} for head in heads]
    assert found == [believed or anew] * 2 + [anew]


async def test_via_both_ways_with_the_version_that_each_message_came_in() -> None:
    async def answer(call: Call) -> None:
        await call.finish()
        assert call.field(b"via") == b"1.1 edge"
        call.send_headers([(b":status", b"200"), (b"via", b"1.1 other")], end=True)

    async with (
        h2_server(answer) as app,
        running_inbound(app.port, "h2", forwarding=Forwarding(None, "edge")) as inbound,
    ):
        answered = await inbound.ask(request(), until=b"\r\n\r\n")
    assert b"via: 1.1 other\r\nVia: 2 edge\r\n" in answered


async def test_an_upgrade_has_them_too() -> None:
    async with raw_app(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n") as app:
        async with running_inbound(app.port, forwarding=Forwarding(PRIVATE_NETWORKS, "edge")) as inbound:
            answered = await inbound.ask(request("Connection: upgrade", "Upgrade: x"), until=b"\r\n\r\n")
    assert told(app.heads[0]) == {**MADE_ANEW, "via": "1.1 edge"}
    assert b"Via: 1.1 edge\r\n" in answered


async def test_a_sidecar_tells_the_app_inbound_and_nobody_outbound() -> None:
    async with raw_app(OK) as app:
        flags = ("--trust-forwarded", "192.0.2.0/24", "--via", "mesh", "--health", "tcp")
        async with running_sidecar(f"127.0.0.1:{app.port}", *flags) as sidecar:
            for name in ("inbound", "outbound"):
                reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port(name))
                host = f"127.0.0.1:{app.port}".encode()
                writer.write(request("X-Forwarded-For: 1.1.1.1").replace(b"a:81", host))
                async with asyncio.timeout(20):
                    assert b"Via: 1.1 mesh\r\n" in await reader.readuntil(b"\r\n\r\n")
                writer.transport.abort()
    host_field = {"x-forwarded-host": f"127.0.0.1:{app.port}"}
    assert told(app.heads[0]) == {**MADE_ANEW, **host_field, "via": "1.1 mesh"}
    assert told(app.heads[1]) == {"x-forwarded-for": "1.1.1.1", "via": "1.1 mesh"}
