"""What a mesh on this machine is put together from, for the demo and the soak: etcd, control, sidecars and apps.

Nothing is called but what users call: commands, flags, environment, pages.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from demo.processes import Child, ChildError, Family, Ports
from remora.control.store.embedded import EmbeddedEtcdError, find_etcd

LOOPBACK = "127.0.0.1"
READY_S = 60.0
"""Longest time until a part that was started is of use; a small machine starts two dozen processes at once."""
POLL_S = 0.1

_LAYER_ETCD, _LAYER_CONTROL, _LAYER_SIDECARS, _LAYER_APPS = range(4)


class Parts:
    """Starts the parts and asks them. etcd and control have the same ports, and etcd its data, each time they start."""

    def __init__(self, family: Family, folder: Path, session: aiohttp.ClientSession, env: str) -> None:
        self.ports = Ports()
        self._family = family
        self._folder = folder
        self._session = session
        self._env = env
        self._etcd_peer_url = self._free_url()
        self.etcd_url = self._free_url()
        self.control_url = self._free_url()
        self._control_grpc = f"{LOOPBACK}:{self.ports.free()}"

    async def start_etcd(self) -> Child:
        """Returns when it answers."""
        argv = [
            _etcd_binary(),
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={self._etcd_peer_url}",
            f"--initial-advertise-peer-urls={self._etcd_peer_url}",
            f"--initial-cluster=default={self._etcd_peer_url}",
            "--log-level=warn",
            "--unsafe-no-fsync",
        ]
        # etcd cleans up at SIGTERM and then ends by it.
        etcd = await self._family.start(_LAYER_ETCD, "etcd", argv, clean_status=-signal.SIGTERM)
        await self.until(etcd, lambda: self.read(f"{self.etcd_url}/health"))
        return etcd

    async def start_control(self) -> Child:
        """Returns when it is ready."""
        control = await self._family.python(
            _LAYER_CONTROL,
            "control",
            "remora.control.cli",
            "run",
            f"--etcd={self.etcd_url}",
            f"--env={self._env}",
            f"--grpc={self._control_grpc}",
            f"--http={self.control_url.removeprefix('http://')}",
        )
        await control.address("grpc")
        await self.until(control, lambda: self.read(f"{self.control_url}/healthz/ready"))
        return control

    async def apply(self, *files: Path) -> str:
        """`control apply` of these files; what it said. Raises ChildError when it refused them."""
        child = await self._family.python(
            _LAYER_CONTROL,
            "control-apply",
            "remora.control.cli",
            "apply",
            *(f"--file={file}" for file in files),
            env={"CONTROL_URL": self.control_url},
        )
        status = await child.wait(READY_S)
        said = child.last_words()
        if status != 0:
            raise ChildError(f"`control apply` ended with {status}: {said}")
        return said

    async def start_sidecar(self, name: str, *args: str) -> Child:
        """Returns at once; it says where it listens."""
        return await self._family.python(
            _LAYER_SIDECARS,
            f"{name}-sidecar",
            "remora.sidecar.cli",
            "run",
            f"--control={self._control_grpc}",
            f"--inbound={LOOPBACK}:0",
            f"--outbound-listen={LOOPBACK}:0",
            f"--admin={LOOPBACK}:0",
            f"--metrics={LOOPBACK}:0",
            # The last known good of another run would be endpoints of another mesh.
            f"--state-dir={self._folder / 'state' / name}",
            *args,
        )

    async def start_app(self, name: str, module: str, *args: str, env: Mapping[str, str] | None = None) -> Child:
        """Returns when it listens."""
        app = await self._family.python(_LAYER_APPS, name, module, *args, env=env)
        await app.address()
        return app

    async def until(self, child: Child, ask: Callable[[], Awaitable[object]], timeout: float = READY_S) -> None:
        """Ask until it does not fail by the connection or by ValueError.

        Raises ChildError when the child ends or it takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                await ask()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                if not child.running or time.monotonic() > deadline:
                    raise ChildError(
                        f"{child.name} is not ready: {error}; its log ends: {child.last_words()}"
                    ) from error
            else:
                return
            await asyncio.sleep(POLL_S)

    async def until_known(
        self, sidecar: Child, counts: Mapping[str, int], exactly: bool = False, timeout: float = READY_S
    ) -> None:
        """Waits until the sidecar has so many healthy endpoints of each service, or more.

        `exactly`: no others either, healthy or not. Raises ChildError as `until`.
        """
        admin = await sidecar.address("admin")

        async def known() -> None:
            found = await self._endpoints(admin, healthy=not exactly)
            numbers = {service: found.get(f"{service}.default", 0) for service in counts}
            if any(numbers[name] < count or (exactly and numbers[name] > count) for name, count in counts.items()):
                raise ValueError(f"it should know {dict(counts)} endpoints, but knows {found}")

        await self.until(sidecar, known, timeout)

    async def _endpoints(self, admin: str, healthy: bool) -> dict[str, int]:
        """How many endpoints of each cluster the sidecar has; `healthy`: only those that it would call."""
        clusters = await self.read_json(f"http://{admin}/clusters")
        return {
            cluster["name"]: sum(not healthy or endpoint["state"] == "healthy" for endpoint in cluster["endpoints"])
            for cluster in clusters
        }

    async def read_json(self, url: str) -> Any:
        """As `read`."""
        return json.loads(await self.read(url))

    async def read(self, url: str) -> str:
        """The body of a 200; raises ValueError for any other answer."""
        async with self._session.get(url) as response:
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}: {await response.text()}")
            return await response.text()

    def _free_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.free()}"


def _etcd_binary() -> str:
    try:
        return str(find_etcd())
    except EmbeddedEtcdError as error:
        raise ChildError(str(error)) from None
