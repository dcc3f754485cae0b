"""The mesh under soak: etcd, control, the caller's sidecar, and instances of each service, each with a sidecar."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo.processes import Child, ChildError, Family, Ports
from remora.control.store.embedded import find_etcd
from soak.ledger import GRPC, HTTP, TCP

LOOPBACK = "127.0.0.1"
READY_S = 60.0
POLL_S = 0.1
DRAIN_S = 40.0
"""A sidecar's own limit, and some."""
KINDS = {HTTP: "http", GRPC: "grpc", TCP: "tcp"}
PROTOCOLS = {HTTP: "http1", GRPC: "grpc", TCP: "tcp"}
CALLER = "caller"
WORKERS = 2

LAYER_ETCD, LAYER_CONTROL, LAYER_SIDECARS, LAYER_APPS = range(4)


@dataclass
class Pod:
    """An instance: the app, which may be started again on its port, and the sidecar beside it."""

    service: str
    name: str
    port: int
    app: Child
    sidecar: Child


class World:
    """Starts, stops, kills and asks the parts."""

    def __init__(self, family: Family, folder: Path, session: aiohttp.ClientSession) -> None:
        self.executed = folder / "executed"
        self._family = family
        self._folder = folder
        self._session = session
        self._ports = Ports()
        self._started = 0
        self._changes = 0
        self._etcd_url = ""
        self._control_grpc, self._control_http = (f"{LOOPBACK}:{self._ports.free()}" for _ in range(2))
        self._control: Child | None = None
        self.caller: Child | None = None
        self.pods: list[Pod] = []

    async def start(self, instances: int, with_workers: str) -> None:
        """Everything, ready: `instances` of each service. `with_workers`: CALLER, or the service whose first instance
        has a sidecar with workers."""
        self.executed.touch()
        await self._start_etcd()
        await self._start_control()
        await self.change_policy(0)
        pods = await asyncio.gather(
            *(
                self._start_pod(service, workers=service == with_workers and number == 0)
                for service in KINDS
                for number in range(instances)
            )
        )
        self.pods += pods
        ports = (f"--outbound={service}={LOOPBACK}:0" for service in KINDS)
        self.caller = await self._sidecar(
            CALLER, *ports, "--outbound-policy=registry-only", workers=with_workers == CALLER
        )
        await self.until_callers_know()

    async def outbound(self, service: str) -> int:
        """The caller's local port for `service`."""
        return _port(await self._caller().address(f"outbound:{service}"))

    async def proxy(self) -> int:
        """The caller's local port for all services."""
        return _port(await self._caller().address("outbound"))

    async def metrics(self, name: str) -> str:
        """A sidecar's metrics."""
        return await self.read(f"{await self._sidecars()[name].address('metrics')}/metrics")

    async def workers(self, name: str) -> Mapping[int, int]:
        """The process ids of a sidecar's workers that are up, by their numbers."""
        status = json.loads(await self.read(f"{await self._sidecars()[name].address('admin')}/status"))
        return {worker["worker"]: worker["pid"] for worker in status.get("workers", ()) if worker["state"] == "up"}

    async def read(self, url: str) -> str:
        """A page; raises ValueError for one that is not there."""
        async with self._session.get(f"http://{url}") as answer:
            if answer.status != 200:
                raise ValueError(f"{url} answers {answer.status}: {await answer.text()}")
            return await answer.text()

    # ── what may happen ──

    async def kill_app(self, pod: Pod) -> None:
        """SIGKILL, in the middle of everything."""
        pod.app.kill()
        await pod.app.wait()

    async def stop_app(self, pod: Pod) -> None:
        """SIGTERM: it closes its connections by itself."""
        await pod.app.stop()

    async def start_app(self, pod: Pod) -> None:
        """On the port that it had."""
        pod.app = await self._app(pod.service, pod.name, pod.port)
        await self.until_callers_know()

    async def kill_pod(self, pod: Pod) -> None:
        """SIGKILL to app and sidecar, as when a machine goes away."""
        pod.app.kill()
        pod.sidecar.kill()
        await asyncio.gather(pod.app.wait(), pod.sidecar.wait())
        self.pods.remove(pod)

    async def add_pod(self, service: str) -> None:
        self.pods.append(await self._start_pod(service))
        await self.until_callers_know()

    async def retire_pod(self, pod: Pod) -> None:
        """SIGTERM to the sidecar, which takes leave of the mesh, then to the app. Raises ChildError if that fails."""
        self.pods.remove(pod)
        for child in (pod.sidecar, pod.app):
            status = await child.stop(DRAIN_S)
            if status != 0:
                raise ChildError(f"{child.name} ended with {status} when told to stop: {child.last_words()}")

    async def restart_control(self) -> None:
        """SIGKILL, and start it again."""
        assert self._control is not None
        self._control.kill()
        await self._control.wait()
        await self._start_control()

    async def change_policy(self, number: int) -> None:
        """Apply another variant of the policies; all mean the same for what clients may see."""
        self._changes += 1
        documents = _policies(number)
        file = self._folder / "policies.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        child = await self._family.python(
            LAYER_CONTROL,
            f"apply-{self._changes}",
            "remora.control.cli",
            *("apply", f"--file={file}"),
            env={"CONTROL_URL": f"http://{self._control_http}"},
        )
        if await child.wait(READY_S) != 0:
            raise ChildError(f"control apply failed: {child.last_words()}")

    async def until_callers_know(self) -> None:
        """Until the caller's sidecar sees all pods healthy."""
        if self.caller is None:
            return
        want = {service: sum(pod.service == service for pod in self.pods) for service in KINDS}
        admin = await self.caller.address("admin")

        async def known() -> None:
            clusters = json.loads(await self.read(f"{admin}/clusters"))
            healthy = {
                cluster["name"].partition(".")[0]: sum(e["state"] == "healthy" for e in cluster["endpoints"])
                for cluster in clusters
            }
            if any(healthy.get(service, 0) < count for service, count in want.items()):
                raise ValueError(f"the caller knows {healthy}, not {want}")

        await self._until("the mesh", self.caller, known)

    # ── parts ──

    async def _start_etcd(self) -> None:
        client, peer = (f"http://{LOOPBACK}:{self._ports.free()}" for _ in range(2))
        self._etcd_url = client
        flags = {
            "data-dir": str(self._folder / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "warn",
        }
        argv = [str(find_etcd()), "--unsafe-no-fsync", *(f"--{name}={value}" for name, value in flags.items())]
        etcd = await self._family.start(LAYER_ETCD, "etcd", argv, clean_status=-signal.SIGTERM)
        await self._until("etcd", etcd, lambda: self.read(f"{client.removeprefix('http://')}/health"))

    async def _start_control(self) -> None:
        self._control = await self._family.python(
            LAYER_CONTROL,
            "control",
            "remora.control.cli",
            *("run", f"--etcd={self._etcd_url}", f"--grpc={self._control_grpc}", f"--http={self._control_http}"),
        )
        await self._until("control", self._control, lambda: self.read(f"{self._control_http}/healthz/ready"))

    async def _start_pod(self, service: str, *, workers: bool = False) -> Pod:
        self._started += 1
        name, port = f"{service}-{self._started}", self._ports.free()
        app = await self._app(service, name, port)
        sidecar = await self._sidecar(
            name,
            f"--upstream={LOOPBACK}:{port}",
            # The HTTP app speaks HTTP/1 alone.
            f"--protocol={PROTOCOLS[service]}",
            f"--service={service}",
            f"--advertise={LOOPBACK}",
            workers=workers,
        )
        metrics = await sidecar.address("metrics")
        await self._until(name, sidecar, lambda: self.read(f"{metrics}/healthz/ready"))
        return Pod(service, name, port, app, sidecar)

    async def _app(self, service: str, name: str, port: int) -> Child:
        arguments = (KINDS[service], str(port), str(self.executed))
        app = await self._family.python(LAYER_APPS, f"{name}-app", "soak.app", *arguments)
        await app.address()
        return app

    async def _sidecar(self, name: str, *arguments: str, workers: bool) -> Child:
        free = (f"--{flag}={LOOPBACK}:0" for flag in ("inbound", "outbound-listen", "admin", "metrics"))
        sidecar = await self._family.python(
            LAYER_SIDECARS,
            f"{name}-sidecar",
            "remora.sidecar.cli",
            # The last known good of another run would be endpoints of another mesh.
            *("run", f"--control={self._control_grpc}", f"--state-dir={self._folder / 'state' / name}"),
            f"--workers={WORKERS if workers else 1}",
            *free,
            *arguments,
        )
        await sidecar.address("outbound")
        return sidecar

    def _sidecars(self) -> Mapping[str, Child]:
        return {CALLER: self._caller(), **{pod.name: pod.sidecar for pod in self.pods}}

    def _caller(self) -> Child:
        assert self.caller is not None, "start comes first"
        return self.caller

    async def _until(self, name: str, child: Child, ask: Callable[[], Awaitable[object]]) -> None:
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


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


_BALANCERS = ("RoundRobin", "LeastRequest", "Random")


def _policies(number: int) -> list[dict[str, Any]]:
    def policy(service: str, retry: dict[str, Any], **timeouts: str) -> dict[str, Any]:
        return {
            "apiVersion": "mesh.remora.dev/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": {"name": service},
            "spec": {
                "targetRefs": [{"kind": "Service", "group": "", "name": service}],
                "balancer": {"type": _BALANCERS[number % len(_BALANCERS)]},
                "retry": {"attempts": 2 + number % 2, **retry},
                # Far above what clients wait for: a busy machine is no finding.
                "timeouts": {"request": "90s", "connect": "10s", **timeouts},
            },
        }

    def route(path: str) -> dict[str, Any]:
        return {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [{"name": HTTP}]}

    paths = ["/", "/echo", "/ws", "/never"][: 1 + number % 4]
    return [
        policy(HTTP, {"codes": [502, 503, 504]}),
        policy(TCP, {}),
        policy(GRPC, {"grpcStatuses": ["UNAVAILABLE"], "safeMethods": ["/soak.Soak/Unary"]}),
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": HTTP},
            "spec": {
                "parentRefs": [{"kind": "Service", "group": "", "name": HTTP}],
                "rules": [route(path) for path in paths],
            },
        },
    ]
