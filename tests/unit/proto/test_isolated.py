"""A cancellation is never swallowed, whatever grpclib puts in its place."""

from __future__ import annotations

import asyncio

import pytest
from grpclib.exceptions import StreamTerminatedError
from grpclib.utils import Wrapper

from remora.proto.isolated import isolated


async def call(wrapper: Wrapper, ended: list[str]) -> None:
    """As all calls of grpclib wait."""
    try:
        with wrapper:
            await asyncio.sleep(3600)
    finally:
        ended.append("ended")


async def keeps_trying(wrapper: Wrapper, ended: list[str]) -> None:
    while True:
        try:
            await isolated(call(wrapper, ended))
        except StreamTerminatedError:
            await asyncio.sleep(3600)


@pytest.mark.parametrize("lost_first", [True, False])
async def test_a_loop_ends_when_it_is_cancelled_as_its_connection_is_lost(lost_first: bool) -> None:
    wrapper, ended = Wrapper(), []  # type: ignore[var-annotated]
    task = asyncio.create_task(keeps_trying(wrapper, ended))
    await asyncio.sleep(0.01)
    acts = [lambda: wrapper.cancel(StreamTerminatedError("lost")), task.cancel]
    for act in acts if lost_first else reversed(acts):
        act()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done
    assert task.cancelled()
    assert ended == ["ended"]


async def test_results_and_errors_come_through() -> None:
    async def fail() -> None:
        raise StreamTerminatedError("lost")

    assert await isolated(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(StreamTerminatedError, match="lost"):
        await isolated(fail())
    task = asyncio.current_task()
    assert task is not None
    wrapper = Wrapper()
    asyncio.get_running_loop().call_soon(wrapper.cancel, StreamTerminatedError("lost"))
    with pytest.raises(StreamTerminatedError):
        await isolated(call(wrapper, []))
    assert task.cancelling() == 0
