"""Whether the app behind this sidecar answers, asked actively.

The first success makes it healthy: an app that has just started should take traffic at once. Several failures in a row
make it unhealthy: one slow answer should not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from remora.sidecar.probe.probes import Check, Subject, make_probe
from remora.sidecar.probe.tracker import Health, HealthTracker, Limits

log = logging.getLogger(__name__)


class HealthView(msgspec.Struct, frozen=True):
    """The app's health, for people. `since` is Unix time in seconds."""

    state: Health
    reason: str
    since: float
    check: str


class AppHealth:
    """Asks the app again and again. Lives on the event loop."""

    def __init__(
        self,
        check: Check,
        host: str,
        port: int,
        on_change: Callable[[bool], None],
        *,
        limits: Limits | None = None,
    ) -> None:
        """`on_change` gets True when the app becomes healthy, False when it becomes unhealthy."""
        self._check = check
        self._limits = limits or Limits()
        self._probe = make_probe(check, Subject(host, port))
        self._on_change = on_change
        self._tracker = HealthTracker(self._limits)
        self._since = time.time()
        self._was_healthy = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="app-health")

    async def stop(self) -> None:
        """Ask no more. `on_change` is not called again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._probe.close()

    def state(self) -> HealthView:
        """How the app is, and the last probe's result in a sentence."""
        return HealthView(self._tracker.health, self._tracker.reason, self._since, str(self._check))

    async def _run(self) -> None:
        while True:
            fault = await self._ask()
            if self._tracker.observe(fault):
                self._since = time.time()
                self._tell()
            await asyncio.sleep(self._tracker.next_probe_s)

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._probe.ask()
        except TimeoutError:
            return f"The app did not answer {self._check} within {self._limits.timeout_s:g} s."
        except Exception as error:  # a fault of ours must not end the watch
            fault = f"The app could not be asked {self._check}: {error!r}."
            if fault != self._tracker.reason:
                log.exception("Asking the app failed in an unexpected way.")
            return fault

    def _tell(self) -> None:
        healthy = self._tracker.health == "healthy"
        # An app that is still starting is no cause for concern; one that was well and is not any more, is.
        level = logging.WARNING if self._was_healthy and not healthy else logging.INFO
        self._was_healthy = self._was_healthy or healthy
        log.log(level, "The app is %s: %s", self._tracker.health, self._tracker.reason)
        self._on_change(healthy)
