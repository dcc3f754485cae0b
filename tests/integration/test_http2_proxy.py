"""HTTP/2 on both sides of a sidecar over real sockets: what RFC 9113 asks of whoever stands between two peers.

The peers are h2 (python-hyper), which checks every frame against its own windows and tables, nghttp2 and curl.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.h2_peer import (
    Call,
    Headers,
    Peer,
    PeerSettings,
    Serve,
    Server,
    h2_client,
    h2_server,
    request_headers,
    until,
)
from tests.support.process import Command, running_sidecar

OK: Headers = [(b":status", b"200")]
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
MEBIBYTE = bytes(range(256)) * 4096


@asynccontextmanager
async def between(
    serve: Serve, *, server: PeerSettings | None = None, client: PeerSettings | None = None
) -> AsyncIterator[tuple[Peer, Server, Command]]:
    """A client's connection to a sidecar before a server that runs `serve` for each request."""
    async with (
        h2_server(serve, server) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
        h2_client(sidecar.port("inbound"), client) as peer,
    ):
        yield peer, app, sidecar


async def echo(call: Call) -> None:
    """Answer with what comes, once all of it has."""
    await call.finish()
    call.send_headers(OK)
    await call.send_data(call.data, end=True)


async def greet(call: Call) -> None:
    call.send_headers(OK)
    await call.send_data(b"hello", end=True)


async def post(client: Peer, body: bytes, *, pad: int | None = None) -> Call:
    call = client.request(request_headers("POST"), end=False)
    await call.send_data(body, end=True, pad=pad)
    return await call.finish()


# flow control


@pytest.mark.parametrize("window", [1, 1000, 65_535, 2**20])
async def test_bodies_larger_than_any_window_arrive_whole_both_ways(window: int) -> None:
    body = MEBIBYTE[: 200 if window == 1 else None]
    async with between(echo, server={WINDOW: window}, client={WINDOW: window}) as (client, _, _):
        # h2 takes the first acknowledgement for that of all its settings: let them all have come.
        await post(client, b"")
        calls = await asyncio.gather(*(post(client, body) for _ in range(4)))
    assert [hashlib.sha256(call.data).digest() for call in calls] == [hashlib.sha256(body).digest()] * 4


async def test_a_stream_that_is_not_read_stops_its_sender_and_nobody_else() -> None:
    """Down: the server stops after less than 256 KiB that nobody takes; other streams of both connections go on."""
    sender: list[Call] = []

    async def serve(call: Call) -> None:
        call.send_headers(OK)
        if call.field(b":path") == b"/flood":
            sender.append(call)
            await call.send_data(MEBIBYTE * 4, end=True)
        else:
            await call.send_data(b"hello", end=True)

    async with between(serve) as (client, _, _):
        client.connection.increment_flow_control_window(2**24)
        flood = client.request(request_headers(path="/flood"), end=False)
        flood.reads = flood.keeps = False
        await until(lambda: bool(sender) and sender[0].room == 0)
        for _ in range(3):
            assert (await client.request(request_headers()).finish()).data == b"hello"
        assert sender[0].room == 0
        assert flood.size <= 65_535
        assert sender[0].sent - flood.size < 256 * 1024
        flood.read_on()
        await flood.finish()
        assert flood.size == 4 * len(MEBIBYTE)


async def test_a_server_that_does_not_read_stops_the_client_and_nobody_else() -> None:
    """Up: likewise."""
    stuck: list[Call] = []

    async def serve(call: Call) -> None:
        if call.field(b":path") == b"/flood":
            call.reads = call.keeps = False
            stuck.append(call)
            await call.finish()
        call.send_headers(OK)
        await call.send_data(b"hello", end=True)

    async with between(serve) as (client, app, _):
        flood = client.request(request_headers("POST", "/flood"), end=False)
        await until(lambda: bool(stuck))
        app.peers[0].connection.increment_flow_control_window(2**24)
        app.peers[0].flush()
        sending = asyncio.create_task(flood.send_data(MEBIBYTE * 4, end=True))
        await until(lambda: flood.room == 0)
        for _ in range(3):
            assert (await client.request(request_headers()).finish()).data == b"hello"
        assert flood.room == 0
        assert flood.sent - stuck[0].size < 256 * 1024
        stuck[0].read_on()
        await sending
        assert (await flood.finish()).data == b"hello"
        assert stuck[0].size == 4 * len(MEBIBYTE)


async def test_a_window_made_smaller_in_mid_stream_goes_below_zero_and_is_kept() -> None:
    """h2 raises where more comes than its window, which the settings change takes far below zero, allows."""
    async with between(echo, client={WINDOW: 60_000}) as (client, _, _):
        client.connection.increment_flow_control_window(2**24)
        call = client.request(request_headers("POST"), end=False)
        call.reads = False
        await call.send_data(MEBIBYTE, end=True)
        await call.until(lambda: call.size == 60_000)
        client.change({WINDOW: 10})
        await client.ping()
        assert call.size == 60_000
        # Still 40,000 below zero after this.
        client.connection.increment_flow_control_window(19_990, call.stream_id)
        await client.ping()
        assert call.size == 60_000
        client.connection.increment_flow_control_window(40_007, call.stream_id)
        await client.ping()
        await call.until(lambda: call.size == 60_007)
        client.change({WINDOW: 2**20})
        await call.finish()
        assert call.data == MEBIBYTE


async def test_a_window_made_larger_by_settings_lets_waiting_streams_go_on() -> None:
    async with between(echo, client={WINDOW: 0}) as (client, _, _):
        calls = [client.request(request_headers("POST"), end=False) for _ in range(5)]
        for call in calls:
            call.reads = False
            await call.send_data(MEBIBYTE[:10_000], end=True)
        await asyncio.gather(*(call.until(lambda call=call: bool(call.headers)) for call in calls))  # type: ignore[misc]
        await client.ping()
        assert [call.size for call in calls] == [0] * 5
        client.change({WINDOW: 10_000})
        for call in calls:
            assert (await call.finish()).data == MEBIBYTE[:10_000]


async def test_padding_counts_in_windows_and_is_no_data() -> None:
    """A megabyte in which each frame is padded would stall if the padding's share of the window were not given back."""
    async with between(echo) as (client, _, _):
        call = client.request(request_headers("POST"), end=False)
        for offset in range(0, 400_000, 500):
            await call.send_data(MEBIBYTE[offset : offset + 500], pad=255)
        await call.send_data(b"", end=True)
        assert (await call.finish()).data == MEBIBYTE[:400_000]


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
        ("GET", ErrorCodes.INTERNAL_ERROR, 2, 503),
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


# other people's clients and servers


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode(errors="replace")
    return out.decode(errors="replace")


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@needs("curl")
async def test_curl_uploads_and_downloads(tmp_path: Path) -> None:
    body, answer = tmp_path / "body", tmp_path / "answer"
    body.write_bytes(MEBIBYTE * 5)
    async with between(echo) as (_, _, sidecar):
        for args in (["--data-binary", f"@{body}"], ["-T", str(body)]):
            url = sidecar.url("inbound") + "/a?b"
            out = await run(
                "curl",
                "-sS",
                "--http2-prior-knowledge",
                *args,
                "-o",
                str(answer),
                "-w",
                "%{http_version} %{http_code}",
                url,
            )
            assert out == "2 200"
            assert answer.read_bytes() == MEBIBYTE * 5


@needs("nghttp")
async def test_nghttp_pads_and_continues(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(MEBIBYTE)
    async with between(echo) as (_, _, sidecar):
        url = sidecar.url("inbound") + "/"
        padded = await run("nghttp", "-nv", "--padding=200", "--continuation", f"--data={body}", url)
        assert ":status: 200" in padded
        assert "END_STREAM" in padded
        small = await run("nghttp", "-nv", "--window-bits=8", "--connection-window-bits=8", "-m", "20", url)
        assert small.count(":status: 200") == 20


@needs("h2load")
@pytest.mark.parametrize("protocol", ["h2", "http1"])
async def test_h2load_meets_no_failure(protocol: str) -> None:
    if protocol == "h2":
        async with between(greet) as (_, _, sidecar):
            await load(sidecar)
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        running_sidecar(
            f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "--protocol", "http1", "--health", "tcp"
        ) as sidecar,
    ):
        await load(sidecar)


async def load(sidecar: Command) -> None:
    out = await run("h2load", "-n2000", "-c4", "-m50", "-w10", "-W12", sidecar.url("inbound") + "/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert "status codes: 2000 2xx" in out
