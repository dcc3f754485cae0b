"""gRPC through two sidecars in a row, with grpcio on both ends: it is what judges our HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support import documents
from tests.support.grpc_app import Echo, meshed, running_grpc
from tests.support.process import running_sidecar

TIMEOUT_S = 20


async def test_unary_with_metadata_both_ways_and_trailers(tmp_path: Path) -> None:
    async with meshed(tmp_path, Echo()) as (channel, _):
        call = channel.unary_unary("/echo.Echo/Unary")(b"hi", metadata=(("x-sent", "yes"),), timeout=TIMEOUT_S)
        assert await call == b"hi"
        assert dict(await call.initial_metadata())["x-seen"] == "yes"
        assert dict(await call.trailing_metadata())["x-trailer"] == "t"
        assert await call.code() is grpc.StatusCode.OK


async def test_all_kinds_of_streaming(tmp_path: Path) -> None:
    async with meshed(tmp_path, Echo()) as (channel, _):
        down = channel.unary_stream("/echo.Echo/Down")(b"200", timeout=TIMEOUT_S)
        assert [message async for message in down] == [b"%d" % number for number in range(200)]

        async def messages() -> AsyncIterator[bytes]:
            for number in range(200):
                yield b"%d" % number

        up = await channel.stream_unary("/echo.Echo/Up")(messages(), timeout=TIMEOUT_S)
        assert up == b",".join(b"%d" % number for number in range(200))

        both = channel.stream_stream("/echo.Echo/Both")(timeout=TIMEOUT_S)
        for word in (b"one", b"two", b"three"):
            # Each answer comes while the request is still open: nothing on the way waits for its end.
            await both.write(word)
            assert await both.read() == word.upper()
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF


async def test_large_messages_keep_flow_control_on_both_sides(tmp_path: Path) -> None:
    message = bytes(range(256)) * 12_000
    async with meshed(tmp_path, Echo()) as (channel, _):
        unary = channel.unary_unary("/echo.Echo/Unary")
        answers = await asyncio.gather(*(unary(message, timeout=TIMEOUT_S) for _ in range(5)))
        assert all(answer == message for answer in answers)


async def test_many_calls_at_once_on_one_connection(tmp_path: Path) -> None:
    async with meshed(tmp_path, Echo("a"), Echo("b")) as (channel, _):
        unary = channel.unary_unary("/echo.Echo/Unary")
        answers = await asyncio.gather(*(unary(b"%d" % number, timeout=TIMEOUT_S) for number in range(500)))
        assert sorted(int(answer[:-1]) for answer in answers) == list(range(500))
        assert {answer[-1:] for answer in answers} == {b"a", b"b"}


async def test_cancellation_reaches_the_server(tmp_path: Path) -> None:
    echo = Echo()
    async with meshed(tmp_path, echo) as (channel, _):
        call = channel.unary_unary("/echo.Echo/Hang")(b"", timeout=TIMEOUT_S)
        async with asyncio.timeout(TIMEOUT_S):
            while not echo.calls:
                await asyncio.sleep(0.01)
            call.cancel()
            await echo.cancelled.wait()


async def test_a_deadline_is_passed_on_shortened_and_kept(tmp_path: Path) -> None:
    echo = Echo()
    async with meshed(tmp_path, echo) as (channel, _):
        await channel.unary_unary("/echo.Echo/Unary")(b"", timeout=10)
        assert echo.time_left is not None
        assert 0 < echo.time_left <= 10
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/echo.Echo/Hang")(b"", timeout=0.3)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(TIMEOUT_S):
            await echo.cancelled.wait()


async def test_the_mesh_times_a_call_out_with_a_grpc_status(tmp_path: Path) -> None:
    async with meshed(tmp_path, Echo(), timeouts={"request": "200ms"}) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/echo.Echo/Hang")(b"", timeout=TIMEOUT_S)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not answer within" in (failed.value.details() or "")
        assert dict(failed.value.trailing_metadata() or ())["x-mesh-error"] == "timeout"


async def test_no_endpoint_is_unavailable_and_says_so(tmp_path: Path) -> None:
    config = documents.write(tmp_path / "mesh.yaml", documents.endpoints("echo"))
    async with running_sidecar(None, "--config", str(config), "--outbound", "echo=127.0.0.1:0") as caller:
        async with grpc.aio.insecure_channel(caller.address("outbound:echo")) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/echo.Echo/Unary")(b"", timeout=TIMEOUT_S)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "has no endpoint" in (failed.value.details() or "")


@pytest.mark.parametrize(("declared", "executions"), [(["/echo.Echo/Fail"], 3), ([], 1)])
async def test_unavailable_is_retried_elsewhere_only_where_declared_safe(
    tmp_path: Path, declared: list[str], executions: int
) -> None:
    first, second = Echo("a"), Echo("b")
    first.failures_left = second.failures_left = 100
    async with meshed(tmp_path, first, second, retry={"safeMethods": declared}) as (channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/echo.Echo/Fail")(b"", timeout=TIMEOUT_S)
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.UNAVAILABLE, "told to")
        assert len(first.calls) + len(second.calls) == executions
        second.failures_left = 0
        if declared:
            for _ in range(10):
                assert await channel.unary_unary("/echo.Echo/Fail")(b"", timeout=TIMEOUT_S) == b"fine"


async def test_an_instance_that_dies_costs_no_declared_safe_call(tmp_path: Path) -> None:
    """One of two instances' sidecars is killed in the middle of steady calls."""
    async with AsyncExitStack() as stack:
        inbound, sidecars = [], []
        for name in ("a", "b"):
            app = await stack.enter_async_context(running_grpc(Echo(name)))
            sidecars.append(await stack.enter_async_context(running_sidecar(app)))
            inbound.append(sidecars[-1].address("inbound"))
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("echo", *inbound, protocol="grpc"),
            # All that were on their way to it fail at once: more than the budget's three, perhaps.
            documents.traffic_policy("echo", retry={"safeMethods": ["/echo.Echo/Unary"], "budget": {"minimum": 8}}),
        )
        flags = ("--config", str(config), "--outbound", "echo=127.0.0.1:0")
        caller = await stack.enter_async_context(running_sidecar(None, *flags))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(caller.address("outbound:echo")))
        unary = channel.unary_unary("/echo.Echo/Unary")
        answers: list[bytes] = []

        async def call_on() -> None:
            while len(answers) < 600:
                answers.append(await unary(b"", timeout=TIMEOUT_S))

        callers = [asyncio.create_task(call_on()) for _ in range(8)]
        async with asyncio.timeout(TIMEOUT_S * 2):
            while len(answers) < 150:
                await asyncio.sleep(0.01)
            sidecars[0].process.kill()
            await asyncio.gather(*callers)
        assert set(answers[:150]) == {b"a", b"b"}
        assert set(answers[-50:]) == {b"b"}
