"""This sidecar's parts of limits that it enforces together with others.

Control splits each such limit by what the sidecars say that they need (`remora/control/push/quota.py`). Requests never
wait for any of that: each side has buckets of its own, and only their sizes move.

With control away the last share stays, as it does for the others; after KEPT_S it is no longer known who else there is,
and the share becomes that of one among as many as there were.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from remora.model.shares import QuotaKey
from remora.proto.mesh.v1.discovery_pb2 import Demand as DemandMessage
from remora.proto.mesh.v1.discovery_pb2 import QuotaDemand, Shares, SidecarMessage
from remora.sidecar.source.demand import Demand

REPORT_S = 0.5
"""How often demand is looked at; it is told when it has moved."""
KEPT_S = 60.0

Put = Callable[[str, SidecarMessage], None]


@dataclass(frozen=True, slots=True)
class _Share:
    share: float
    participants: int


class QuotaAgent:
    """Tells demand, and puts shares to use. Lives on the event loop; idle while there is nothing shared."""

    def __init__(
        self,
        take_wanted: Callable[[], Mapping[QuotaKey, int]],
        lease: Callable[[Mapping[QuotaKey, float]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`take_wanted`: requests since it was last called; `lease`: takes the parts that are ours, in (0, 1]."""
        self._take_wanted = take_wanted
        self._lease = lease
        self._clock = clock
        self._demands: dict[QuotaKey, Demand] = {}
        self._told: dict[QuotaKey, float] = {}
        self._shares: dict[QuotaKey, _Share] = {}
        self._put: Put | None = None
        self._seen_at = clock()
        self._away_since = clock()
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, limits: Mapping[QuotaKey, float]) -> None:
        """From now on these are shared; they let so many requests per second through."""
        for key in limits.keys() & self._demands.keys():
            self._demands[key].follow(limits[key])
        if limits.keys() == self._demands.keys():
            return
        self._demands = {key: self._demands.get(key) or Demand(limit) for key, limit in limits.items()}
        self._shares = {key: share for key, share in self._shares.items() if key in limits}
        self._tell()
        if limits and self._timer is None:
            self._seen_at = self._clock()
            self._arm()

    def connected(self, put: Put) -> None:
        """There is a stream: what is told goes into its outbox."""
        self._put = put
        if self._demands:
            self._tell()

    def disconnected(self) -> None:
        self._put = None
        self._away_since = self._clock()

    def received(self, shares: Shares) -> None:
        """Control has split anew."""
        found = {
            (quota.service, quota.limit): _Share(quota.share, quota.participants)
            for quota in shares.quotas
            if (quota.service, quota.limit) in self._demands and 0.0 < quota.share <= 1.0
        }
        self._shares |= found
        self._lease({key: share.share for key, share in found.items()})

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Take what was wanted since the last look, and tell it if that is news."""
        now = self._clock()
        seconds, self._seen_at = now - self._seen_at, now
        wanted = self._take_wanted()
        if seconds > 0:
            for key, demand in self._demands.items():
                demand.observe(wanted.get(key, 0), seconds)
        if any(demand.has_moved(self._told.get(key, 0.0)) for key, demand in self._demands.items()):
            self._tell()
        if self._put is None and now - self._away_since >= KEPT_S:
            self._split_equally()

    def _split_equally(self) -> None:
        alone = {key: 1.0 / max(share.participants, 1) for key, share in self._shares.items()}
        self._shares.clear()
        self._lease(alone)

    def _tell(self) -> None:
        if self._put is None:
            return
        self._told = {key: demand.rate for key, demand in self._demands.items()}
        quotas = [QuotaDemand(service=key[0], limit=key[1], rate=rate) for key, rate in sorted(self._told.items())]
        self._put("demand", SidecarMessage(demand=DemandMessage(quotas=quotas)))

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REPORT_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._demands:
            self.look()
            self._arm()
