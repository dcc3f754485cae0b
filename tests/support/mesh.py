"""Two sidecars in a row: the caller's, with a port for the one service, and the one before the app."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support import documents
from tests.support.process import Command, running_sidecar


@dataclasses.dataclass(frozen=True)
class Row:
    """`port` is the caller's, for the service `app`."""

    caller: Command
    callee: Command

    @property
    def port(self) -> int:
        return self.caller.port("outbound:app")


@asynccontextmanager
async def running_row(
    app: str,
    tmp_path: Path,
    protocol: str = "auto",
    *,
    between: str = "auto",
    caller: Sequence[str] = (),
    callee: Sequence[str] = (),
) -> AsyncIterator[Row]:
    """`app` is HOST:PORT and speaks `protocol`; between the two sidecars `between` is spoken."""
    async with running_sidecar(app, "--protocol", protocol, *callee) as near_app:
        mesh = documents.write(
            tmp_path / "mesh.yaml", documents.endpoints("app", near_app.address("inbound"), protocol=between)
        )
        async with running_sidecar(None, "--config", str(mesh), "--outbound", "app=:0", *caller) as near_caller:
            yield Row(near_caller, near_app)


async def metric(sidecar: Command, name: str, **labels: str) -> float:
    """The sum of the samples called `name` over series with these labels."""
    return sum(await samples(sidecar, name, **labels))


async def samples(sidecar: Command, name: str, **labels: str) -> list[float]:
    """The values of the samples called `name` in series with these labels."""
    async with aiohttp.ClientSession() as client, client.get(sidecar.url("metrics") + "/metrics") as response:
        text = await response.text()
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
