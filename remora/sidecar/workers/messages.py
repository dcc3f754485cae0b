"""What the parent and a worker say to each other."""

from __future__ import annotations

from typing import Any

import msgspec

from remora.model.happened import Happened
from remora.model.names import ServiceName
from remora.model.snapshot import Snapshot
from remora.sidecar.admin.views import ClusterView
from remora.sidecar.explain.values import Explanation


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base: each kind is told by its name."""


# The parent says:


class Configure(Message, frozen=True):
    """Use this; with the first, listen."""

    snapshot: Snapshot
    own_ports: tuple[int, ...]


class Checked(Message, frozen=True):
    """A health check of the parent has found that an endpoint is not well any more; without a fault: that it is
    again."""

    service: ServiceName
    endpoint: str
    fault: str


class Answer(Message, frozen=True):
    """To Ask. When it is known, a Configure that has it went before."""

    service: ServiceName
    known: bool


class Lease(Message, frozen=True):
    """From now on these parts of limits are yours."""

    shares: tuple[tuple[str, str, float], ...]
    """(service, limit, part)."""


class Tell(Message, frozen=True):
    """Report how things are; clusters only if they are asked for."""

    serial: int
    clusters: bool


class Inquire(Message, frozen=True):
    """Answer the query of /explain."""

    serial: int
    query: str
    config: str
    """Where the configuration comes from."""


class Drain(Message, frozen=True):
    """Go on answering, and tell callers to go elsewhere."""


class Finish(Message, frozen=True):
    """Take nothing new, let live requests end, and end."""


# A worker says:


class Up(Message, frozen=True):
    """It listens."""


class Failed(Message, frozen=True):
    """It cannot listen."""

    reason: str


class Ask(Message, frozen=True):
    """Subscribe to `service`, and say whether the mesh knows it."""

    service: ServiceName


class Report(Message, frozen=True):
    """To Tell."""

    serial: int
    counts: dict[str, Any]
    """What was counted since the last report: see `counts`."""
    used: tuple[ServiceName, ...]
    """Services that had requests since the last report."""
    requests: int
    """Live ones."""
    connections: dict[str, int]
    clusters: tuple[ClusterView, ...] | None
    wanted: tuple[tuple[str, str, int], ...] = ()
    """(service, limit, requests that count for it since the last report), of all limits."""


class Told(Message, frozen=True):
    """To Inquire: one of the two is set."""

    serial: int
    explanation: Explanation | None = None
    happened: tuple[Happened, ...] = ()


class Finished(Message, frozen=True):
    """All live requests have ended, or, with `clean` false, some were cut off."""

    clean: bool


FromParent = Configure | Checked | Answer | Lease | Tell | Inquire | Drain | Finish
FromWorker = Up | Failed | Ask | Report | Told | Finished

encode = msgspec.msgpack.Encoder().encode
