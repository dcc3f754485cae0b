"""Limits that several sidecars enforce together: who needs how much, and who gets how much.

Sidecars tell control what they need. Each control writes what those connected to it need into the store, under a lease,
and sees there what those of the others need; so all split alike (`remora/model/shares.py`), and send each sidecar its
part when that has moved. No request waits for any of this, and no sidecar here for a slow store.

While demands move, controls may split by slightly different ones for as long as news takes to pass the store: a part of
a second, in which the parts may be a little more, or less, than the whole. So they may be where a sidecar is new, until
the next round. What a control that ends has written stays until its lease is over: its sidecars are with others soon,
and keep what they have on their way; each is counted once, by its name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from remora.control.push.connection import Connection
from remora.control.store.errors import LeaseGone, StoreError
from remora.control.store.interface import Event, EventKind, LeaseId, Store
from remora.control.store.keys import QuotaStoreKey, parse_key
from remora.model.limits import RateLimit
from remora.model.names import ServiceName
from remora.model.shares import QuotaKey, split
from remora.model.snapshot import Service
from remora.proto.mesh.v1 import discovery_pb2 as pb

log = logging.getLogger(__name__)

ROUND_S = 0.5
"""How often shares are worked out and demand is written, while there is any."""
TTL_S = 10
"""A control that is gone is believed for so long."""
RENEW_S = 3.0
MOVED = 0.01
"""A share that changes by less than this part of itself is not sent."""
TOLD = 0.03
"""A demand that changes by less than this part of itself, and TOLD_OF_LIMIT of the limit, is not written."""
TOLD_OF_LIMIT = 0.005
MAX_QUOTAS = 1000
"""Of one sidecar."""
MAX_RATE = 1e9
"""Requests per second: no sidecar has so many."""

Node = str
Demands = dict[QuotaKey, dict[Node, float]]
"""Requests per second that each sidecar needs."""


class _Record(msgspec.Struct, frozen=True):
    """Of one quota, in the store."""

    service: str
    limit: str
    rates: dict[Node, float]


_RECORDS = msgspec.json.Decoder(list[_Record])


class Quotas:
    """All quotas, as this control sees them. Lives on the event loop; idle while nobody has any."""

    def __init__(
        self,
        store: Store,
        env: str,
        control_id: str,
        service: Callable[[ServiceName], Service | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`service`: the catalog's."""
        self._store = store
        self._key = str(QuotaStoreKey(env, control_id))
        self._env = env
        self._control_id = control_id
        self._service = service
        self._here: dict[Connection, dict[QuotaKey, float]] = {}
        self._elsewhere: dict[str, Demands] = {}
        """By control."""
        self._participants: dict[QuotaKey, int] = {}
        """As of the last round, and who came since."""
        self._sent: dict[Connection, dict[QuotaKey, tuple[float, int]]] = {}
        self._written: Demands = {}
        self._clock = clock
        self._lease: LeaseId | None = None
        self._renewed_at = 0.0
        self._failing = False
        self._woken = asyncio.Event()
        self._settling: asyncio.TimerHandle | None = None

    def settle(self, delay_s: float) -> None:
        """For so long, leave sidecars that have a configuration alone: see `SETTLE_S` of the server. Those that come
        first would have all, while those that are yet to come keep what they have."""
        self._settling = asyncio.get_running_loop().call_later(delay_s, self._settled)

    def _settled(self) -> None:
        self._settling = None

    def close(self) -> None:
        """Settle no more."""
        if self._settling is not None:
            self._settling.cancel()

    def told(self, connection: Connection, demand: pb.Demand) -> None:
        """What a sidecar needs now."""
        now = {(quota.service, quota.limit): _sane(quota.rate) for quota in demand.quotas[:MAX_QUOTAS]}
        if not now:
            self.left(connection)
            return
        self._here[connection] = now
        sent = self._sent.get(connection, {})
        for key in sent.keys() - now.keys():
            del sent[key]
        self._welcome(connection, now)
        self._woken.set()

    def _welcome(self, connection: Connection, keys: Iterable[QuotaKey]) -> None:
        """Until the next round, who is new has an equal part: that is soon said, however many there are."""
        sent = self._sent.get(connection, {})
        new = [key for key in keys if key not in sent]
        if not new:
            return
        for key in new:
            self._participants[key] = self._participants.get(key, 0) + 1
        self._send(connection, sent | {key: (1.0 / self._participants[key], self._participants[key]) for key in new})

    def left(self, connection: Connection) -> None:
        """A sidecar has gone."""
        self._here.pop(connection, None)
        self._sent.pop(connection, None)

    def take(self, events: Iterable[Event]) -> None:
        """Changes of the store; what is not about quotas is passed over."""
        for event in events:
            key = parse_key(event.key)
            if not isinstance(key, QuotaStoreKey) or key.env != self._env or key.control == self._control_id:
                continue
            if event.kind is EventKind.PUT:
                self._elsewhere[key.control] = _decode(event.value, key.control)
            else:
                self._elsewhere.pop(key.control, None)

    async def run(self) -> None:
        """Share, round by round, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._share_if_any))
            group.create_task(self._repeat(self.write))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._woken.wait()
            try:
                await step()
            except Exception:  # a fault of ours in one round must not end all that follow
                log.exception("Shared limits could not be split; sidecars keep the parts that they have.")
            await asyncio.sleep(ROUND_S)

    async def _share_if_any(self) -> None:
        if self._here:
            self.share()
        elif not self._written:
            self._woken.clear()

    def share(self) -> None:
        """Split all quotas that sidecars here have a part in, and send what has moved."""
        demands = self._demands()
        self._participants = {key: len(by_node) for key, by_node in demands.items()}
        shares = {key: self._split(key, by_node) for key, by_node in demands.items()}
        for connection, mine in self._here.items():
            node = connection.hello.node
            self._send(connection, {key: (shares[key][node], len(shares[key])) for key in mine})

    def demands(self) -> Demands:
        """Of the sidecars that are connected here."""
        found: Demands = {}
        for connection, mine in self._here.items():
            for key, rate in mine.items():
                found.setdefault(key, {})[connection.hello.node] = round(rate, 6)
        return found

    def _demands(self) -> Demands:
        """Of all. One that is connected here has not told anybody else anything newer."""
        found = self.demands()
        for others in self._elsewhere.values():
            for key, by_node in others.items():
                if key in found:
                    found[key] = by_node | found[key]
        return found

    def _limit(self, key: QuotaKey) -> RateLimit | None:
        service = self._service(ServiceName(key[0]))
        limits = () if service is None else service.limits.limits
        return next((limit for limit in limits if limit.name == key[1]), None)

    def _split(self, key: QuotaKey, by_node: Mapping[Node, float]) -> dict[Node, float]:
        limit = self._limit(key)
        if limit is None:  # not known yet, or no more
            return dict.fromkeys(by_node, 1.0 / len(by_node))
        return split(limit, 1.0, by_node)

    def _send(self, connection: Connection, shares: Mapping[QuotaKey, tuple[float, int]]) -> None:
        if self._settling is not None and connection.hello.revision:
            return
        sent = self._sent.setdefault(connection, {})
        if all(_is_near(sent.get(key), found) for key, found in shares.items()):
            return
        sent.update(shares)
        quotas = [
            pb.QuotaShare(service=key[0], limit=key[1], share=share, participants=participants)
            for key, (share, participants) in sorted(shares.items())
        ]
        # All of them each time: a message that still waits is replaced.
        connection.reply("shares", pb.ControlMessage(shares=pb.Shares(quotas=quotas)))

    async def write(self) -> None:
        """Let other controls know what is needed here, if that is news to them."""
        demands = self.demands()
        try:
            if self._lease is not None and self._clock() - self._renewed_at >= RENEW_S:
                await self._renew(self._lease)
            if self._is_news(demands):
                await self._put(demands)
        except StoreError as error:
            if not self._failing:
                log.warning("What sidecars need of shared limits cannot be told to other controls: %s", error)
            self._failing = True
        else:
            self._failing = False

    async def _renew(self, lease: LeaseId) -> None:
        asked_at = self._clock()
        if await self._store.keep_alive(lease) > 0:
            self._renewed_at = asked_at
        else:
            self._lease, self._written = None, {}

    async def _put(self, demands: Demands) -> None:
        if not demands:
            await self._store.delete(self._key)
            self._written = {}
            return
        if self._lease is None:
            self._renewed_at = self._clock()
            self._lease = await self._store.grant(TTL_S)
        records = [_Record(key[0], key[1], by_node) for key, by_node in sorted(demands.items())]
        try:
            await self._store.put(self._key, msgspec.json.encode(records), lease=self._lease)
        except LeaseGone:
            self._lease = None
            return
        self._written = demands

    def _is_news(self, demands: Demands) -> bool:
        """Whether others would split in another way."""
        if demands.keys() != self._written.keys():
            return True
        for key, by_node in demands.items():
            told, limit = self._written[key], self._limit(key)
            room = 0.0 if limit is None else TOLD_OF_LIMIT * limit.rate
            if by_node.keys() != told.keys():
                return True
            if any(abs(rate - told[node]) > room + TOLD * told[node] for node, rate in by_node.items()):
                return True
        return False


def _sane(rate: float) -> float:
    """Of what may be no number at all."""
    return rate if 0.0 <= rate <= MAX_RATE else 0.0


def _is_near(before: tuple[float, int] | None, now: tuple[float, int]) -> bool:
    return before is not None and before[1] == now[1] and abs(now[0] - before[0]) <= MOVED * before[0]


def _decode(value: bytes, control: str) -> Demands:
    try:
        records = _RECORDS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("What control %s has written of shared limits cannot be read: %s", control, error)
        return {}
    return {(record.service, record.limit): record.rates for record in records}
