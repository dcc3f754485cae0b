"""Gates: what may hold up or refuse a request before it goes upstream, and hears how it ended.

Rate limits, faults, admission control and adaptive concurrency are gates. A request passes those of its decision in
their order; most decisions have none, and their requests pay nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Protocol

from remora.model.base import Origin
from remora.model.shares import QuotaKey
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.policy.limit import Limit
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.wire.heads import Fields, RequestHead


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """The request goes no further."""

    failure: Failure
    detail: str
    """The sentence for people."""
    fields: Fields = dataclasses.field(default_factory=list)
    """Added to the answer."""
    wait_s: float = 0.0
    """After so many seconds another try may go better; 0: nobody knows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delayed:
    """The request goes on after so many seconds, and then to `then`, if that is set."""

    seconds: float
    then: Stopped | None = None
    flag: str = ""
    """How the request counts if it goes well."""


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """The request goes on, with more fields."""

    request_fields: Fields
    """Added to the request."""
    answer_fields: Fields
    """Added to its answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """Somebody else is asked; without a Stopped the request goes on. It is cancelled when nobody waits any more."""

    answer: asyncio.Future[Stopped | Granted | None]


Verdict = Stopped | Delayed | Asked | None
"""None: the request goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """What a gate lets through, where that is a part of something that others let through too."""

    key: QuotaKey
    limit: Limit


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """What a gate says of a request, for people."""

    name: str
    """Of the kind of policy: `fault`, `rate limit`."""
    says: tuple[str, ...]
    """A phrase each."""
    origin: Origin | None
    now: str = ""
    """How it stands at the moment."""
    missed: str = ""
    """Why it is not for such a request; empty: it is."""
    stopped: Stopped | None = None
    """What such a request would be answered now, if the gate stopped it."""
    chance: float = 0.0
    """Of that."""

    def stopping(self, stopped: Stopped, chance: float = 1.0) -> Account:
        """The same of a gate that would now stop the request."""
        return Account(self.name, self.says, self.origin, self.now, self.missed, stopped, chance)


class Gate(Protocol):
    """One of them, for all requests of a service or a route. Keeps its state over snapshots."""

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:
        """A request comes. `now` is of the monotonic clock, `random` in [0, 1)."""

    def leave(self, outcome: Outcome, now: float, seconds: float) -> None:
        """A request that went on here is over, `seconds` after it began. Called once for each."""

    def quotas(self) -> tuple[Quota, ...]:
        """Its parts of what is shared with others."""

    def close(self) -> None:
        """It is no longer used by new requests."""

    def explain(self, head: RequestHead) -> Sequence[Account]:
        """What it has to do with such a request. Changes nothing: the request is not there."""


class PlainGate:
    """What of a gate most have no use for: it does nothing."""

    def leave(self, outcome: Outcome, now: float, seconds: float) -> None:
        """See Gate."""

    def quotas(self) -> tuple[Quota, ...]:
        """See Gate."""
        return ()

    def close(self) -> None:
        """See Gate."""
