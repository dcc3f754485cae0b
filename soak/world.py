"""The mesh under soak: etcd, control, the caller's sidecar, and instances of each service, each with a sidecar."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo.parts import LOOPBACK, Parts
from demo.processes import Child, Family
from soak.ledger import GRPC, HTTP, TCP

DRAIN_S = 40.0
"""A sidecar's own limit, and some."""
KINDS = {HTTP: "http", GRPC: "grpc", TCP: "tcp"}
PROTOCOLS = {HTTP: "http1", GRPC: "grpc", TCP: "tcp"}
CALLER = "caller"
WORKERS = 2


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
        self._policies = folder / "policies.yaml"
        self._parts = Parts(family, folder, session, "soak")
        self._started = 0
        self._control: Child | None = None
        self.caller: Child | None = None
        self.pods: list[Pod] = []

    async def start(self, instances: int, with_workers: str) -> None:
        """Everything, ready: `instances` of each service. `with_workers`: CALLER, or the service whose first instance
        has a sidecar with workers."""
        self.executed.touch()
        await self._parts.start_etcd()
        self._control = await self._parts.start_control()
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
        return await self._parts.read(f"http://{await self._sidecars()[name].address('metrics')}/metrics")

    async def workers(self, name: str) -> Mapping[int, int]:
        """The process ids of a sidecar's workers that are up, by their numbers."""
        status = await self._parts.read_json(f"http://{await self._sidecars()[name].address('admin')}/status")
        return {worker["worker"]: worker["pid"] for worker in status.get("workers", ()) if worker["state"] == "up"}

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
            await child.stop_cleanly(DRAIN_S)

    async def restart_control(self) -> None:
        """SIGKILL, and start it again."""
        assert self._control is not None
        self._control.kill()
        await self._control.wait()
        self._control = await self._parts.start_control()

    async def change_policy(self, number: int) -> None:
        """Apply another variant of the policies; all mean the same for what clients may see."""
        self._policies.write_text("\n---\n".join(json.dumps(document) for document in _policies(number)))
        await self._parts.apply(self._policies)

    async def until_callers_know(self) -> None:
        """Until the caller's sidecar sees all pods healthy."""
        if self.caller is None:
            return
        want = {service: sum(pod.service == service for pod in self.pods) for service in KINDS}
        await self._parts.until_known(self.caller, want)

    # ── parts ──

    async def _start_pod(self, service: str, *, workers: bool = False) -> Pod:
        self._started += 1
        name, port = f"{service}-{self._started}", self._parts.ports.free()
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
        await self._parts.until(sidecar, lambda: self._parts.read(f"http://{metrics}/healthz/ready"))
        return Pod(service, name, port, app, sidecar)

    async def _app(self, service: str, name: str, port: int) -> Child:
        arguments = (KINDS[service], str(port), str(self.executed))
        return await self._parts.start_app(f"{name}-app", "soak.app", *arguments)

    async def _sidecar(self, name: str, *arguments: str, workers: bool) -> Child:
        sidecar = await self._parts.start_sidecar(name, f"--workers={WORKERS if workers else 1}", *arguments)
        await sidecar.address("outbound")
        return sidecar

    def _sidecars(self) -> Mapping[str, Child]:
        return {CALLER: self._caller(), **{pod.name: pod.sidecar for pod in self.pods}}

    def _caller(self) -> Child:
        assert self.caller is not None, "start comes first"
        return self.caller


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


_BALANCERS = ("RoundRobin", "LeastRequest", "Random")
_BUDGET = {"percent": 100, "minimum": 1000, "minimumPerSecond": 1000}
"""All that was in flight to an app that is killed is made again: with less, some of it may rightly fail."""
_OUTLIER = {"baseEjection": "1s", "maxEjection": "5s"}
"""Apps fail here again and again, and the next trouble waits until all are used again."""


def _policies(number: int) -> list[dict[str, Any]]:
    def policy(service: str, retry: dict[str, Any], **timeouts: str) -> dict[str, Any]:
        return {
            "apiVersion": "mesh.remora.dev/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": {"name": service},
            "spec": {
                "targetRefs": [{"kind": "Service", "group": "", "name": service}],
                "balancer": {"type": _BALANCERS[number % len(_BALANCERS)]},
                "retry": {"attempts": 2 + number % 2, "budget": _BUDGET, **retry},
                "outlier": _OUTLIER,
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
