"""The registration of this sidecar's app: made when the app is healthy, kept alive, changed with its health, taken back
on shutdown.

The lease is the registration's, not the connection's: its id is kept here and said to whichever control answers.

    waiting ──healthy──► registering ──Registered──► registered
                            ▲  ▲                        │ │
                            │  └──── new health ────────┘ │
                            └─ later ── failed ◄──────────┘ RegistrationFailed
    any ──deregister──► deregistering ──Deregistered──► deregistered
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as random_module
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from remora.model.snapshot import Endpoint
from remora.proto.mesh.v1.discovery_pb2 import Deregister, KeepAlive, Register, Registered, SidecarMessage
from remora.sidecar.source.backoff import Backoff

log = logging.getLogger(__name__)

Phase = Literal["waiting", "registering", "registered", "failed", "deregistering", "deregistered"]
Send = Callable[[str, SidecarMessage], None]
"""(matter, message): queues for control; a later message on a matter replaces the earlier one."""

RETRY_BASE_S = 0.25
RETRY_CAP_S = 2.0
"""Well below a lease's TTL: after an outage of the store, what is left of the lease is short."""
KEEP_ALIVES_PER_TTL = 5
"""Every 3 s of the usual 15: a store that stands still for 10 s then still finds the lease with time left."""
ANSWER_TIMEOUT_S = 5.0
"""Without an answer for so long, Register is said again: control may have restarted in between."""

_SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_SUFFIX_LENGTH = 7
_MAX_LABEL = 63


def instance_id(service: str, random: random_module.Random | None = None) -> str:
    """An id for this start of an instance of `service`: a DNS label, 35 random bits behind the name."""
    source = random or random_module.SystemRandom()
    suffix = "".join(source.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH))
    return f"{service[: _MAX_LABEL - _SUFFIX_LENGTH - 1].rstrip('-')}-{suffix}"


class RegistrationState(msgspec.Struct, frozen=True):
    """The registration, for people. `since` is Unix time in seconds: when `phase` was entered."""

    phase: Phase
    service: str
    instance: str
    healthy: bool
    lease_id: int
    ttl_s: int
    last_error: str
    since: float


class Registrar:
    """Keeps one instance registered through the stream that ControlSource lends it. Lives on the event loop."""

    def __init__(
        self,
        service: str,
        namespace: str,
        endpoint: Endpoint,
        *,
        on_state: Callable[[], None] | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`endpoint.id` is the instance id; `endpoint.healthy` follows `set_health`."""
        self._service = service
        self._namespace = namespace
        self._endpoint = endpoint
        self._on_state = on_state
        self._backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, random)
        self._healthy: bool | None = None
        self._phase: Phase = "waiting"
        self._since = time.time()
        self._lease_id = 0
        self._ttl_s = 0
        self._last_error = ""
        self._send: Send | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Event = asyncio.Event()

    def state(self) -> RegistrationState:
        """How the registration stands."""
        return RegistrationState(
            phase=self._phase,
            service=f"{self._service}.{self._namespace}",
            instance=self._endpoint.id,
            healthy=bool(self._healthy),
            lease_id=self._lease_id,
            ttl_s=self._ttl_s,
            last_error=self._last_error,
            since=self._since,
        )

    def set_health(self, healthy: bool) -> None:
        """Whether the app answers. The first True registers; each later change is registered again."""
        if healthy == self._healthy or self._leaving or (self._healthy is None and not healthy):
            return
        self._healthy = healthy
        self._register()

    async def deregister(self, timeout_s: float = 5.0) -> bool:
        """Take the registration back; True when it is gone for sure. Never raises: without an answer in time its lease
        runs out by itself."""
        if self._phase == "waiting":
            self._enter("deregistered")
            return True
        if not self._leaving:
            self._enter("deregistering")
            self._cancel_timer()
            self._send_deregister()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._gone.wait()
        if not self._gone.is_set():
            log.warning(
                "Control did not confirm within %g s that instance %s is deregistered; its lease ends after %d s.",
                timeout_s,
                self._endpoint.id,
                self._ttl_s,
            )
        return self._gone.is_set()

    # Said by ControlSource.

    def connected(self, send: Send) -> None:
        """A stream is up: what it does not know yet is said to it."""
        self._send = send
        if self._phase == "deregistering":
            self._send_deregister()
        elif self._healthy is not None and not self._leaving:
            self._register()

    def disconnected(self) -> None:
        """The stream is gone; the lease lives on for its TTL."""
        self._send = None
        self._cancel_timer()

    def registered(self, message: Registered) -> None:
        """Control has put the instance, or kept its lease alive."""
        if message.instance != self._endpoint.id or self._leaving:
            return
        self._lease_id, self._ttl_s = message.lease_id, message.ttl_s
        self._backoff.reset()
        self._last_error = ""
        if self._phase != "registered":
            log.info("Instance %s is registered as %s.%s.", self._endpoint.id, self._service, self._namespace)
            self._enter("registered")
        self._later(max(self._ttl_s / KEEP_ALIVES_PER_TTL, 0.1), self._keep_alive)

    def failed(self, instance: str, reason: str) -> None:
        """The instance is not in etcd now: try again soon."""
        if instance != self._endpoint.id or self._phase == "deregistered":
            return
        if self._phase != "failed" or reason != self._last_error:
            log.warning("Instance %s is not registered: %s", self._endpoint.id, reason)
        self._last_error = reason
        if self._phase == "deregistering":
            self._later(self._backoff.next_delay(), self._send_deregister)
            return
        self._enter("failed")
        self._later(self._backoff.next_delay(), self._register)

    def deregistered(self, instance: str) -> None:
        """Control has removed the instance."""
        if instance != self._endpoint.id or self._phase != "deregistering":
            return
        self._lease_id = 0
        self._cancel_timer()
        self._gone.set()
        log.info("Instance %s is deregistered.", self._endpoint.id)
        self._enter("deregistered")

    @property
    def _leaving(self) -> bool:
        return self._phase in ("deregistering", "deregistered")

    def _register(self) -> None:
        if self._phase != "registered":
            self._enter("registering")
        if self._send is None:
            return
        endpoint = msgspec.structs.replace(self._endpoint, healthy=bool(self._healthy))
        register = Register(
            service=self._service,
            namespace=self._namespace,
            instance=self._endpoint.id,
            body=msgspec.json.encode(endpoint),
            lease_id=self._lease_id,
        )
        self._send("register", SidecarMessage(register=register))
        self._later(ANSWER_TIMEOUT_S, self._register)

    def _keep_alive(self) -> None:
        if self._send is None:
            return
        self._send("keep-alive", SidecarMessage(keep_alive=KeepAlive(lease_id=self._lease_id)))
        # Answered by Registered, which sets the timer again; if not, it is said again.
        self._later(max(self._ttl_s / KEEP_ALIVES_PER_TTL, 0.1), self._keep_alive)

    def _send_deregister(self) -> None:
        if self._send is None:
            return
        deregister = Deregister(
            service=self._service,
            namespace=self._namespace,
            instance=self._endpoint.id,
            lease_id=self._lease_id,
        )
        self._send("deregister", SidecarMessage(deregister=deregister))

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, call)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _enter(self, phase: Phase) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        self._since = time.time()
        if self._on_state is not None:
            self._on_state()
