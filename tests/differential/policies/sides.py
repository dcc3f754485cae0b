"""Our sidecar's outbound side and Envoy, with the same tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from remora.sidecar.wire.stream import ResetReason
from tests.differential.policies.grpc_peers import grpc_upstream
from tests.differential.policies.play import Side
from tests.differential.policies.stage import Stage
from tests.differential.policies.start import Protocol, cluster, endpoints_document, envoy, our_sidecar
from tests.differential.policies.tables import (
    BACKENDS,
    COLD,
    GRPC_BACKENDS,
    LUKEWARM,
    SHADOW,
    Table,
    policy_document,
)
from tests.differential.policies.translate import virtual_host
from tests.differential.policies.upstream import closed_port, http1_upstream

Ports = dict[str, list[int]]
"""Of each backend."""


@asynccontextmanager
async def upstreams() -> AsyncIterator[tuple[Stage, Ports]]:
    """All upstreams, for one proxy."""
    stage = Stage()
    async with AsyncExitStack() as stack:

        async def open_all(backend: str) -> list[int]:
            kind = grpc_upstream if backend in GRPC_BACKENDS else http1_upstream
            return [await stack.enter_async_context(kind(stage, backend)) for _ in range(2)]

        ports = {backend: await open_all(backend) for backend in (*BACKENDS, *GRPC_BACKENDS)}
        ports[SHADOW] = [await stack.enter_async_context(http1_upstream(stage, SHADOW))]
        ports[COLD] = [stack.enter_context(closed_port())]
        live = await stack.enter_async_context(http1_upstream(stage, LUKEWARM))
        ports[LUKEWARM] = [stack.enter_context(closed_port()), live]
        yield stage, ports


def _protocol(backend: str) -> Protocol:
    return "grpc" if backend in GRPC_BACKENDS else "http1"


@asynccontextmanager
async def our_side(tables: Sequence[Table]) -> AsyncIterator[Side]:
    async with upstreams() as (stage, ports):
        documents = [document for table in tables for document in table.documents]
        documents += [endpoints_document(backend, _protocol(backend), numbers) for backend, numbers in ports.items()]
        documents += [policy_document(backend, {}) for backend in ports]
        async with our_sidecar(documents) as (port, metrics):

            def retries_of(service: str) -> int:
                name = f"{service}.default"
                own = ((reason, count) for (owner, reason), count in metrics.retries.items() if owner == name)
                # One that met a closing connection cost no retry.
                return sum(count for reason, count in own if reason != ResetReason.STALE.value)

            yield Side(port, stage, retries_of)


@asynccontextmanager
async def envoy_side(tables: Sequence[Table]) -> AsyncIterator[Side]:
    async with upstreams() as (stage, ports):
        clusters = [cluster(backend, _protocol(backend), numbers) for backend, numbers in ports.items()]
        async with envoy([virtual_host(table) for table in tables], clusters) as port:
            yield Side(port, stage)
