"""HTTP/2 on both sides of a sidecar over real sockets: what RFC 9113 asks of whoever stands between two peers.

The peers are h2 (python-hyper), which checks every frame against its own windows and tables.
"""

from __future__ import annotations

import asyncio
import signal

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.h2_peer import Call, Peer, h2_client, h2_server, request_headers
from tests.support.h2_sidecar import OK, between, greet
from tests.support.process import running_sidecar
from tests.support.waiting import until

MEBIBYTE = bytes(range(256)) * 4096


# heads


@pytest.mark.parametrize("table_size", [0, 100, 2**16])
async def test_the_size_of_the_header_table_may_change_at_any_time(table_size: int) -> None:
    async def serve(call: Call) -> None:
        call.send_headers([*OK, *((key, value) for key, value in call.headers if key.startswith(b"x-"))], end=True)

    async with between(serve) as (client, app, _):
        for number in range(30):
            if number == 10:
                client.change({SettingCodes.HEADER_TABLE_SIZE: table_size})
            if number == 20:
                app.peers[0].change({SettingCodes.HEADER_TABLE_SIZE: table_size})
            fields = [(b"x-%d" % index, b"%d" % (number // 3 * index)) for index in range(40)]
            call = await client.request(request_headers("GET", "/", *fields)).finish()
            assert [field for field in call.headers if field[0] in dict(fields)] == fields


async def test_long_heads_take_continuation_both_ways() -> None:
    fields = [(b"x-%d" % number, bytes([97 + number]) * 4000) for number in range(12)]

    async def serve(call: Call) -> None:
        assert all(field in call.headers for field in fields)
        call.send_headers([*OK, *fields])
        await call.send_data(b"")
        call.send_headers(fields, end=True)

    async with between(serve) as (client, _, _):
        call = await client.request(request_headers("GET", "/", *fields)).finish()
        assert call.status == 200
        assert all(field in call.headers for field in fields)
        assert call.trailers == fields


async def test_trailers_informational_answers_and_trailers_only() -> None:
    async def serve(call: Call) -> None:
        if call.field(b":path") == b"/trailers-only":
            call.send_headers([*OK, (b"content-type", b"application/grpc"), (b"grpc-status", b"5")], end=True)
            return
        for link in (b"</a>", b"</b>"):
            call.send_headers([(b":status", b"103"), (b"link", link)])
        await call.finish()
        call.send_headers(OK)
        await call.send_data(call.data)
        call.send_headers([(b"x-sum", b"1"), *(call.trailers or [])], end=True)

    async with between(serve) as (client, _, _):
        call = client.request(request_headers("POST"), end=False)
        await call.until(lambda: len(call.informational) == 2)
        assert [dict(head)[b"link"] for head in call.informational] == [b"</a>", b"</b>"]
        await call.send_data(b"abc")
        call.send_headers([(b"x-checksum", b"2")], end=True)
        await call.finish()
        assert (call.data, call.trailers) == (b"abc", [(b"x-sum", b"1"), (b"x-checksum", b"2")])
        only = await client.request(request_headers("POST", "/trailers-only")).finish()
        assert (only.field(b"grpc-status"), only.data, only.trailers) == (b"5", b"", None)


async def test_a_client_may_wait_for_100_continue() -> None:
    async def serve(call: Call) -> None:
        assert call.field(b"expect") == b"100-continue"
        call.send_headers([(b":status", b"100")])
        await call.finish()
        call.send_headers(OK)
        await call.send_data(call.data, end=True)

    async with between(serve) as (client, _, _):
        call = client.request(request_headers("POST", "/", (b"expect", b"100-continue")), end=False)
        await call.until(lambda: bool(call.informational))
        await call.send_data(b"body", end=True)
        assert (await call.finish()).data == b"body"


# resets and pings


async def test_ping_is_answered_while_streams_are_stuck() -> None:
    async def hold(call: Call) -> None:
        await asyncio.Event().wait()

    async with between(hold) as (client, _, _):
        client.request(request_headers())
        await client.ping()


async def test_a_reset_by_the_client_reaches_the_server_at_once() -> None:
    served: list[Call] = []

    async def hold(call: Call) -> None:
        served.append(call)
        call.send_headers(OK)
        await call.send_data(b"there")
        await asyncio.Event().wait()

    async with between(hold) as (client, _, _):
        for end in (True, False):
            call = client.request(request_headers("POST"), end=end)
            await call.until(lambda: call.data == b"there")  # noqa: B023
            call.reset()
            await served[-1].until(lambda: served[-1].reset_code is not None)
            assert served[-1].reset_code == ErrorCodes.CANCEL
        assert (await client.request(request_headers()).until(lambda: len(served) == 3)) is None


@pytest.mark.parametrize(
    ("method", "code", "executions", "status"),
    [
        # What the app may have begun is the caller's sidecar to try again, elsewhere.
        ("GET", ErrorCodes.INTERNAL_ERROR, 1, 503),
        ("POST", ErrorCodes.INTERNAL_ERROR, 1, 503),
        # Not processed, it says.
        ("POST", ErrorCodes.REFUSED_STREAM, 2, 503),
    ],
)
async def test_a_reset_by_the_server_before_its_answer(
    method: str, code: ErrorCodes, executions: int, status: int
) -> None:
    served: list[Call] = []

    async def reset(call: Call) -> None:
        served.append(call)
        call.reset(code)

    async with between(reset) as (client, _, _):
        call = await client.request(request_headers(method)).finish()
        assert (call.status, call.field(b"x-mesh-error"), len(served)) == (status, b"upstream_reset", executions)


async def test_a_reset_by_the_server_within_its_answer_is_a_reset_to_the_client() -> None:
    async def break_off(call: Call) -> None:
        call.send_headers(OK)
        await call.send_data(b"half")
        call.reset(ErrorCodes.INTERNAL_ERROR)

    async with between(break_off) as (client, _, _):
        call = await client.request(request_headers()).finish()
        assert call.status == 200
        assert not call.ended
        assert call.reset_code == ErrorCodes.INTERNAL_ERROR


async def test_an_early_answer_comes_whole_and_the_rest_of_the_request_is_stopped() -> None:
    served: list[Call] = []

    async def refuse(call: Call) -> None:
        served.append(call)
        call.send_headers([(b":status", b"413")])
        await call.send_data(b"too much" * 1000, end=True)
        await call.finish()

    async with between(refuse) as (client, _, _):
        call = client.request(request_headers("POST"), end=False)
        with pytest.raises(ConnectionError):
            await call.send_data(MEBIBYTE * 100)
        assert (call.status, call.data, call.ended) == (413, b"too much" * 1000, True)
        assert call.reset_code == ErrorCodes.NO_ERROR
        await served[0].until(lambda: served[0].reset_code is not None)
        assert len(served) == 1


# GOAWAY


async def test_what_goaway_leaves_out_is_sent_elsewhere_and_what_it_counts_is_not() -> None:
    """Of two POSTs the server counts the first, then goes. Only the second may be executed again."""
    executions: list[bytes] = []
    seen: list[Call] = []

    async def serve(call: Call) -> None:
        executions.append(call.field(b":path") or b"")
        if executions[-1] == b"/warm" or len(seen) == 2:
            await greet(call)

    def arrive(peer: Peer, call: Call) -> bool:
        if call.field(b":path") == b"/warm":
            return True
        if len(seen) == 2:
            return True
        seen.append(call)
        if len(seen) == 1:
            executions.append(b"/first")
            return False
        peer.goaway(seen[0].stream_id)
        peer.transport.close()
        return False

    async with (
        h2_server(serve, on_request=arrive) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound")) as client,
    ):
        await client.request(request_headers(path="/warm")).finish()
        first = client.request(request_headers("POST", "/first"))
        await until(lambda: len(seen) == 1)
        second = client.request(request_headers("POST", "/second"))
        assert (await second.finish()).status == 200
        assert (await first.finish()).status == 503
        assert executions == [b"/warm", b"/first", b"/second"]


async def test_a_sidecar_that_stops_says_goaway_twice_and_finishes_what_it_has() -> None:
    release = asyncio.Event()

    async def serve(call: Call) -> None:
        call.send_headers(OK)
        await call.send_data(b"begun")
        await release.wait()
        await call.send_data(b", done", end=True)

    async with between(serve) as (client, _, sidecar):
        first = client.request(request_headers())
        await first.until(lambda: first.data == b"begun")
        sidecar.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(client.goaways))
        assert client.goaways[0] == (2**31 - 1, ErrorCodes.NO_ERROR)
        await until(lambda: len(client.goaways) == 2)
        assert client.goaways[1] == (first.stream_id, ErrorCodes.NO_ERROR)
        late = await client.request(request_headers()).finish()
        assert late.reset_code == ErrorCodes.REFUSED_STREAM
        release.set()
        assert (await first.finish()).data == b"begun, done"
        await until(lambda: not client.is_open)
        assert await sidecar.finish() == 0
