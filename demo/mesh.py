"""The mesh of the demo as people would start it: etcd, control, services, and a sidecar beside each instance."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo.processes import Child, ChildError, Family, Ports
from remora.control.store.embedded import EmbeddedEtcdError, find_etcd

LOOPBACK = "127.0.0.1"
ENV = "demo"
READY_S = 60.0
"""Longest time until a part that was started is of use; a small machine starts two dozen processes at once."""
POLL_S = 0.1
DRAIN_S = 30.0
"""Longest time from SIGTERM to the end of a sidecar whose streams are coming to theirs."""

LAYER_ETCD, LAYER_CONTROL, LAYER_SIDECARS, LAYER_APPS = range(4)

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
            status = await child.stop(DRAIN_S)
            if status != 0:
                raise ChildError(f"{child.name} ended with {status} when told to stop, see {child.log}")
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
    """Starts, stops and asks the parts. Nothing is called but what users call: commands, flags, environment, pages."""

    def __init__(self, family: Family, folder: Path, session: aiohttp.ClientSession) -> None:
        self._family = family
        self._folder = folder
        self._session = session
        self._ports = Ports()
        self._etcd_ports = (self._ports.free(), self._ports.free())
        self._etcd: Child | None = None
        self._control: Child | None = None
        self.control_grpc = f"{LOOPBACK}:{self._ports.free()}"
        self.control_http = f"{LOOPBACK}:{self._ports.free()}"
        self.control_flag = f"--control http://{self.control_http}"
        """What `control apply`, `status` and the like need to find this control."""
        self.etcd_url = f"http://{LOOPBACK}:{self._etcd_ports[0]}"
        self.pods: list[Pod] = []
        self._started: dict[str, int] = {}

    # ── etcd and control ──

    async def start_etcd(self) -> None:
        """Starts etcd, with the data that it had if it ran before; returns when it answers."""
        client, peer = (f"http://{LOOPBACK}:{port}" for port in self._etcd_ports)
        argv = [
            _etcd_binary(),
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
            "--unsafe-no-fsync",
        ]
        # etcd cleans up at SIGTERM and then ends by it.
        self._etcd = await self._family.start(LAYER_ETCD, "etcd", argv, clean_status=-signal.SIGTERM)
        await self._until("etcd", self._etcd, lambda: self._get(f"{self.etcd_url}/health"))

    async def stop_etcd(self) -> None:
        """Stops etcd; its data stay."""
        assert self._etcd is not None
        await self._etcd.stop()

    async def start_control(self) -> None:
        """Starts control, on the same ports each time; returns when it is ready."""
        self._control = await self._family.python(
            LAYER_CONTROL,
            "control",
            "remora.control.cli",
            "run",
            f"--etcd={self.etcd_url}",
            f"--env={ENV}",
            f"--grpc={self.control_grpc}",
            f"--http={self.control_http}",
        )
        await self._control.address("grpc")
        await self._until("control", self._control, lambda: self._get(f"http://{self.control_http}/healthz/ready"))

    async def kill_control(self) -> None:
        """SIGKILL."""
        assert self._control is not None
        self._control.kill()
        await self._control.wait()

    async def apply(self, *files: Path) -> str:
        """`control apply` of these files; what it said. Raises ChildError when it refused them."""
        return await self._control_command("apply", *(f"--file={file}" for file in files))

    async def _control_command(self, command: str, *args: str) -> str:
        child = await self._family.python(
            LAYER_CONTROL,
            f"control-{command}",
            "remora.control.cli",
            command,
            *args,
            env={"CONTROL_URL": f"http://{self.control_http}"},
        )
        status = await child.wait(READY_S)
        said = child.last_words()
        if status != 0:
            raise ChildError(f"`control {command}` ended with {status}: {said}")
        return said

    async def put_document(self, document: Mapping[str, Any]) -> None:
        """Puts a document straight into etcd, past every check."""
        key = _key("config", document)
        body = {"key": _base64(key), "value": _base64(json.dumps(document))}
        async with self._session.post(f"{self.etcd_url}/v3/kv/put", json=body) as response:
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
        async with self._session.post(f"{self.etcd_url}/v3/kv/range", json={"key": _base64(key)}) as response:
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
        port = self._ports.free()
        sidecar = await self._start_sidecar(
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
        app = await self._family.python(
            LAYER_APPS,
            name,
            f"examples.{service}",
            f"--port={port}",
            f"--version={version}",
            f"--instance={name}",
            env=_where_to_call(outbound, forward),
        )
        await app.address()
        return Pod(
            service, version, name, app, sidecar, await sidecar.address("admin"), await sidecar.address("metrics")
        )

    async def start_client(self, services: Iterable[str]) -> Client:
        """Starts the sidecar of the load generator."""
        names = tuple(services)
        sidecar = await self._start_sidecar("client", *_bindings(names))
        return Client(
            sidecar,
            {name: await sidecar.address(f"outbound:{name}") for name in names},
            await sidecar.address("outbound"),
            await sidecar.address("admin"),
            await sidecar.address("metrics"),
        )

    async def _start_sidecar(self, name: str, *args: str) -> Child:
        return await self._family.python(
            LAYER_SIDECARS,
            f"{name}-sidecar",
            "remora.sidecar.cli",
            "run",
            f"--control={self.control_grpc}",
            f"--inbound={LOOPBACK}:0",
            f"--outbound-listen={LOOPBACK}:0",
            f"--admin={LOOPBACK}:0",
            f"--metrics={LOOPBACK}:0",
            f"--state-dir={self._folder / 'state' / name}",
            *args,
        )

    # ── what they say ──

    async def until_known(
        self, admin: str, counts: Mapping[str, int], exactly: bool = False, timeout: float = READY_S
    ) -> None:
        """Waits until the sidecar with this admin page has so many healthy endpoints of each service, or more.

        `exactly`: no others either, healthy or not. Raises ChildError when that takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = await self._endpoints(admin, healthy=not exactly)
            numbers = {service: found.get(f"{service}.default", 0) for service in counts}
            if numbers == dict(counts) or (not exactly and all(numbers[name] >= counts[name] for name in counts)):
                return
            if time.monotonic() > deadline:
                raise ChildError(f"the sidecar at {admin} should know {dict(counts)} endpoints, but knows {found}")
            await asyncio.sleep(POLL_S)

    async def _endpoints(self, admin: str, healthy: bool) -> dict[str, int]:
        """How many endpoints of each cluster the sidecar has; `healthy`: only those that it would call."""
        clusters = await self._json(f"http://{admin}/clusters")
        return {
            cluster["name"]: sum(not healthy or endpoint["state"] == "healthy" for endpoint in cluster["endpoints"])
            for cluster in clusters
        }

    async def _until_registered(self, pod: Pod) -> None:
        async def registered() -> Any:
            status = await self._json(f"http://{pod.admin}/status")
            if not status["ready"] or status["registration"]["phase"] != "registered":
                raise ValueError(f"{status['missing']}, {status['registration']}")
            return status

        await self._until(pod.name, pod.sidecar, registered)

    async def _until(self, name: str, child: Child, ask: Any) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                await ask()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                if not child.running or time.monotonic() > deadline:
                    raise ChildError(f"{name} is not ready: {error}; its log ends: {child.last_words()}") from error
            else:
                return
            await asyncio.sleep(POLL_S)

    async def _json(self, url: str) -> Any:
        return json.loads(await self._get(url))

    async def _get(self, url: str) -> str:
        """The body of a 200; raises ValueError for any other answer."""
        async with self._session.get(url) as response:
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}: {await response.text()}")
            return await response.text()


def _etcd_binary() -> str:
    try:
        return str(find_etcd())
    except EmbeddedEtcdError as error:
        raise ChildError(str(error)) from None


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
