"""A sidecar's instance in the store, under a lease.

The lease belongs to the registration, not to the stream: a sidecar that comes back, here or at another replica, brings
the lease's id, and a stream that breaks leaves the instance alone until the lease ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from remora.control.push.connection import Connection
from remora.control.push.metrics import PushMetrics
from remora.control.store.errors import LeaseGone, StoreError
from remora.control.store.interface import LeaseId, Store
from remora.control.store.keys import instance_key
from remora.model.names import ServiceName, is_label, service_name
from remora.model.snapshot import Endpoint
from remora.proto.mesh.v1 import discovery_pb2 as pb

log = logging.getLogger(__name__)

DRAIN_WAIT_S = 2.0
"""How long a deregistration waits until the callers connected here have stopped using the instance."""

WaitUnused = Callable[[tuple[ServiceName, ...], str, float], Awaitable[bool]]
"""(services, instance, timeout in s) → whether nobody uses the instance any more."""


class RegistrationError(ValueError):
    """A registration that can never be put, in a sentence."""


class Registrations:
    """What all streams of a control share to register instances."""

    def __init__(self, store: Store, env: str, ttl_s: int, metrics: PushMetrics, wait_unused: WaitUnused) -> None:
        self.store = store
        self.env = env
        self.ttl_s = ttl_s
        self.metrics = metrics
        self.wait_unused = wait_unused


class Registration:
    """One stream's registration. What it is told is done in order by `run`; of what waits, only the newest counts."""

    def __init__(self, shared: Registrations, connection: Connection) -> None:
        self._shared = shared
        self._connection = connection
        self._current: pb.Register | None = None
        self._lease = 0
        self._register: pb.Register | None = None
        self._keep_alive = 0
        self._deregister: pb.Deregister | None = None
        self._some = asyncio.Event()

    def register(self, message: pb.Register) -> None:
        self._register = message
        self._some.set()

    def keep_alive(self, message: pb.KeepAlive) -> None:
        self._keep_alive = message.lease_id
        self._some.set()

    def deregister(self, message: pb.Deregister) -> None:
        self._register = None
        self._keep_alive = 0
        self._deregister = message
        self._some.set()

    async def run(self) -> None:
        """Do what comes, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            if self._deregister is not None:
                deregister, self._deregister = self._deregister, None
                await self._try(deregister.instance, self._do_deregister(deregister))
            if self._register is not None:
                register, self._register = self._register, None
                self._keep_alive = 0
                await self._try(register.instance, self._do_register(register))
            if self._keep_alive and self._deregister is None:
                lease, self._keep_alive = self._keep_alive, 0
                await self._try(self._instance, self._do_keep_alive(lease))

    @property
    def _instance(self) -> str:
        return self._connection.hello.node if self._current is None else self._current.instance

    async def _try(self, instance: str, work: Awaitable[None]) -> None:
        try:
            await work
        except (StoreError, RegistrationError) as error:
            self._shared.metrics.registrations.labels("failed").inc()
            # Counted, and logged by the sidecar: a thousand lines here would say no more than that the store is away.
            log.debug("Instance %s is not registered: %s", instance, error)
            failed = pb.RegistrationFailed(instance=instance, reason=str(error))
            self._connection.reply("registration", pb.ControlMessage(registration_failed=failed))

    async def _do_register(self, message: pb.Register) -> None:
        key, body = checked(message, self._shared.env)
        self._current = message
        lease = LeaseId(message.lease_id or self._lease)
        ttl_s = await self._alive_unchanged(key, body, lease) if lease else 0
        if ttl_s <= 0:
            lease = await self._put(key, body, lease)
            ttl_s = self._shared.ttl_s
            self._shared.metrics.registrations.labels("registered").inc()
        self._registered(message, lease, ttl_s)

    async def _do_keep_alive(self, lease_id: int) -> None:
        if self._current is None:
            raise RegistrationError("this control does not know the registration yet, register again")
        ttl_s = await self._shared.store.keep_alive(LeaseId(lease_id))
        if ttl_s > 0:
            self._registered(self._current, LeaseId(lease_id), ttl_s)
            return
        # A dead lease took the instance with it.
        key, body = checked(self._current, self._shared.env)
        lease = await self._put(key, body, None)
        self._shared.metrics.registrations.labels("registered_again").inc()
        log.warning("The lease of instance %s had ended; it is registered again.", self._current.instance)
        self._registered(self._current, lease, self._shared.ttl_s)

    async def _do_deregister(self, message: pb.Deregister) -> None:
        if not is_label(message.service) or not is_label(message.namespace):
            raise RegistrationError(f"{message.service}.{message.namespace} is not the name of a service")
        service = service_name(message.service, message.namespace)
        await self._shared.store.delete(instance_key(self._shared.env, service, message.instance))
        # The store's word, not the stream's: a Register that was answered just now may have granted another lease.
        for lease in {message.lease_id, self._lease} - {0}:
            await self._shared.store.revoke(LeaseId(lease))
        version = self._version()
        self._current, self._lease = None, 0
        self._connection.registered, self._connection.lease_id = "", 0
        names = (service, service_name(f"{message.service}-{version}", message.namespace)) if version else (service,)
        if not await self._shared.wait_unused(names, message.instance, DRAIN_WAIT_S):
            log.warning(
                "Some callers of %s did not confirm within %g s that %s is gone.",
                service,
                DRAIN_WAIT_S,
                message.instance,
            )
        self._shared.metrics.registrations.labels("deregistered").inc()
        gone = pb.Deregistered(instance=message.instance)
        self._connection.reply("registration", pb.ControlMessage(deregistered=gone))

    def _version(self) -> str:
        if self._current is None:
            return self._connection.hello.version
        return _endpoint(self._current).version

    async def _alive_unchanged(self, key: str, body: bytes, lease: LeaseId) -> int:
        """Seconds that the lease has left if the instance stands under it as `body` already, else 0.

        A sidecar that only comes back on another stream must not wake up all its callers.
        """
        entry = await self._shared.store.get(key)
        if entry is None or entry.value != body or entry.lease != lease:
            return 0
        return await self._shared.store.keep_alive(lease)

    async def _put(self, key: str, body: bytes, lease: LeaseId | None) -> LeaseId:
        store = self._shared.store
        if lease:
            try:
                await store.put(key, body, lease=lease)
            except LeaseGone:
                log.debug("Lease %x of %s is gone; granting another.", lease, key)
            else:
                return lease
        lease = self._lease_granted(await store.grant(self._shared.ttl_s))
        await store.put(key, body, lease=lease)
        return lease

    def _lease_granted(self, lease: LeaseId) -> LeaseId:
        # Kept before the put: when that fails, the next try uses it again instead of leaving a trail of leases.
        self._lease = lease
        return lease

    def _registered(self, message: pb.Register, lease: LeaseId, ttl_s: int) -> None:
        self._lease = lease
        self._connection.registered = f"{message.service}.{message.namespace}/{message.instance}"
        self._connection.lease_id = lease
        registered = pb.Registered(instance=message.instance, lease_id=lease, ttl_s=ttl_s)
        self._connection.reply("registration", pb.ControlMessage(registered=registered))


def checked(message: pb.Register, env: str) -> tuple[str, bytes]:
    """(key, value) of a registration. Raises RegistrationError."""
    if not is_label(message.service) or not is_label(message.namespace):
        raise RegistrationError(f"{message.service!r} in {message.namespace!r} is not the name of a service")
    if not is_label(message.instance):
        raise RegistrationError(f"{message.instance!r} is not an instance id: letters, digits and dashes, at most 63")
    endpoint = _endpoint(message)
    if endpoint.id != message.instance:
        raise RegistrationError(f"instance {message.instance} registers an endpoint of another id, {endpoint.id!r}")
    if not endpoint.address or not 0 < endpoint.port < 65536:
        raise RegistrationError(f"instance {message.instance} has no usable address and port")
    key = instance_key(env, service_name(message.service, message.namespace), message.instance)
    return key, msgspec.json.encode(endpoint)


def _endpoint(message: pb.Register) -> Endpoint:
    try:
        return msgspec.json.decode(message.body, type=Endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistrationError(f"the body of instance {message.instance} is not an endpoint: {error}") from error
