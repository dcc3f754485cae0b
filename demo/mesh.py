"""The mesh of the demo as people would start it: etcd, control, services, and a sidecar beside each instance."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo.parts import LOOPBACK, POLL_S, Parts
from demo.processes import Child, ChildError, Family

ENV = "demo"
DRAIN_S = 30.0
"""Longest time from SIGTERM to the end of a sidecar whose streams are coming to theirs."""

GRPC_SERVICES = ("prices", "quotes")
CALLS: Mapping[str, tuple[str, ...]] = {"shop": ("reviews", "prices")}
"""Which services a service calls."""


@dataclass(frozen=True, slots=True)
class Pod:
    """An instance of a service and the sidecar beside it."""

    service: str
    version: str
    name: str
    app: Child
    sidecar: Child
    admin: str
    metrics: str

    @property
    def running(self) -> bool:
        """Whether both of its processes are."""
        return self.app.running and self.sidecar.running

    async def stop(self) -> float:
        """SIGTERM to the sidecar, which takes leave of the mesh, then to the app; seconds that it took.

        Raises ChildError when either did not end by itself, or with another status than 0.
        """
        started = time.monotonic()
        for child in (self.sidecar, self.app):
            await child.stop_cleanly(DRAIN_S)
        return time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL to both, as when a machine goes away."""
        self.app.kill()
        self.sidecar.kill()


@dataclass(frozen=True, slots=True)
class Client:
    """The sidecar of the load generator: HOST:PORT of its local port for each service, and of its own pages."""

    sidecar: Child
    outbound: Mapping[str, str]
    forward: str
    admin: str
    metrics: str


class Mesh:
    """Starts, stops and asks the parts."""

    def __init__(self, family: Family, folder: Path, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.parts = Parts(family, folder, session, ENV)
        self._etcd: Child | None = None
        self._control: Child | None = None
        self.pods: list[Pod] = []
        self._started: dict[str, int] = {}

    # ── etcd and control ──

    async def start_etcd(self) -> None:
        """Starts etcd, with the data that it had if it ran before; returns when it answers."""
        self._etcd = await self.parts.start_etcd()

    async def stop_etcd(self) -> None:
        """Stops etcd; its data stay."""
        assert self._etcd is not None
        await self._etcd.stop()

    async def start_control(self) -> None:
        """Starts control, on the same ports each time; returns when it is ready."""
        self._control = await self.parts.start_control()

    async def kill_control(self) -> None:
        """SIGKILL."""
        assert self._control is not None
        self._control.kill()
        await self._control.wait()

    async def put_document(self, document: Mapping[str, Any]) -> None:
        """Puts a document straight into etcd, past every check."""
        key = _key("config", document)
        body = {"key": _base64(key), "value": _base64(json.dumps(document))}
        async with self._session.post(f"{self.parts.etcd_url}/v3/kv/put", json=body) as response:
            response.raise_for_status()

    async def refusal(self, document: Mapping[str, Any], timeout: float = 20.0) -> str:
        """Why control refuses the document, from its status key; raises ChildError when it does not."""
        key = _key("status", document)
        deadline = time.monotonic() + timeout
        status: dict[str, Any] = {}
        while not status.get("errors"):
            if time.monotonic() > deadline:
                raise ChildError(f"control should refuse {key}, but its status is {status}")
            await asyncio.sleep(POLL_S)
            status = await self._etcd_json(key)
        return "; ".join(_in_words(error) for error in status["errors"])

    async def _etcd_json(self, key: str) -> dict[str, Any]:
        async with self._session.post(f"{self.parts.etcd_url}/v3/kv/range", json={"key": _base64(key)}) as response:
            response.raise_for_status()
            found = (await response.json()).get("kvs", [])
        return dict(json.loads(base64.b64decode(found[0]["value"]))) if found else {}

    # ── instances ──

    async def start_pods(self, wanted: Iterable[tuple[str, str]]) -> list[Pod]:
        """Starts an instance, with a sidecar, of each (service, version); returns when all are registered."""
        pods = await asyncio.gather(*(self._start_pod(service, version) for service, version in wanted))
        self.pods += pods
        await asyncio.gather(*(self._until_registered(pod) for pod in pods))
        return pods

    async def _start_pod(self, service: str, version: str) -> Pod:
        kind = f"{service}-{version}"
        self._started[kind] = self._started.get(kind, 0) + 1
        name = f"{kind}-{self._started[kind]}"
        port = self.parts.ports.free()
        sidecar = await self.parts.start_sidecar(
            name,
            f"--upstream={LOOPBACK}:{port}",
            f"--service={service}",
            f"--version={version}",
            f"--health={'grpc' if service in GRPC_SERVICES else 'http:/healthz'}",
            *_bindings(CALLS.get(service, ())),
        )
        outbound = {name: await sidecar.address(f"outbound:{name}") for name in CALLS.get(service, ())}
        # Every second instance finds services by HTTP_PROXY instead of a local port: apps can do either.
        forward = await sidecar.address("outbound") if self._started[kind] % 2 == 0 else ""
        app = await self.parts.start_app(
            name,
            f"examples.{service}",
            f"--port={port}",
            f"--version={version}",
            f"--instance={name}",
            env=_where_to_call(outbound, forward),
        )
        return Pod(
            service, version, name, app, sidecar, await sidecar.address("admin"), await sidecar.address("metrics")
        )

    async def start_client(self, services: Iterable[str]) -> Client:
        """Starts the sidecar of the load generator."""
        names = tuple(services)
        sidecar = await self.parts.start_sidecar("client", *_bindings(names))
        return Client(
            sidecar,
            {name: await sidecar.address(f"outbound:{name}") for name in names},
            await sidecar.address("outbound"),
            await sidecar.address("admin"),
            await sidecar.address("metrics"),
        )

    async def _until_registered(self, pod: Pod) -> None:
        async def registered() -> None:
            status = await self.parts.read_json(f"http://{pod.admin}/status")
            if not status["ready"] or status["registration"]["phase"] != "registered":
                raise ValueError(f"{status['missing']}, {status['registration']}")

        await self.parts.until(pod.sidecar, registered)


def _bindings(services: Iterable[str]) -> list[str]:
    return [f"--outbound={name}={LOOPBACK}:0" for name in services]


def _where_to_call(outbound: Mapping[str, str], forward: str) -> dict[str, str]:
    if not outbound:
        return {}
    reviews = {"REVIEWS_URL": f"http://{outbound['reviews']}"}
    if forward:
        reviews = {"REVIEWS_URL": "http://reviews", "HTTP_PROXY": f"http://{forward}", "NO_PROXY": ""}
    return {**reviews, "PRICES_TARGET": outbound["prices"]}


def _key(part: str, document: Mapping[str, Any]) -> str:
    metadata = document["metadata"]
    return f"/mesh/{ENV}/{part}/{document['kind']}/{metadata.get('namespace', 'default')}/{metadata['name']}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _in_words(error: Mapping[str, Any]) -> str:
    return ": ".join(str(value) for value in error.values() if value)
