"""Active health checks: asks endpoints whether they are well, as their service's TrafficPolicy says.

Each place is asked by one timer and over one connection (TCP checks: one each time), however many services it is an
endpoint of. Differently from Envoy, an endpoint that has not been asked yet counts as well: it has registered because
its own sidecar found it well. Only changes are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from remora.model.names import ServiceName
from remora.model.policies import HealthCheck
from remora.model.snapshot import Snapshot
from remora.sidecar.probe.probes import Check, Subject, make_probe
from remora.sidecar.probe.tracker import HealthTracker, Limits
from remora.sidecar.upstream.cluster import policies_of

log = logging.getLogger(__name__)

JITTER = 0.1
"""Of the interval, either way: checks of many sidecars that began at the same time drift apart."""


class Member(NamedTuple):
    """An endpoint of a service."""

    service: ServiceName
    endpoint: str


class Question(NamedTuple):
    """What is asked, and where."""

    host: str
    port: int
    check: Check
    statuses: tuple[int, int]


OnChange = Callable[[ServiceName, str, str], None]
"""Gets service, endpoint id, and what is wrong with it; empty: it is well again."""


class HealthChecks:
    """Those of one sidecar."""

    __slots__ = ("_checkers", "_on_change")

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._checkers: dict[Question, _Checker] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Ask what this says. What has been found out stays, where the question is the same."""
        wanted, checks = _questions(snapshot)
        for question in set(self._checkers) - set(wanted):
            checker = self._checkers.pop(question)
            checker.set_members(frozenset())
            checker.close()
        # All who leave do so before others join: the same endpoint may have another question now.
        for question, checker in self._checkers.items():
            checker.set_members(checker.members & wanted[question])
        for question, members in wanted.items():
            known = self._checkers.get(question)
            if known is None:
                known = self._checkers[question] = _Checker(question, checks[question], self._on_change)
            known.configure(checks[question])
            known.set_members(members)

    def failing(self) -> Iterator[tuple[Member, str]]:
        """Those that are not well, and what is wrong."""
        for checker in self._checkers.values():
            if checker.fault:
                for member in checker.members:
                    yield member, checker.fault

    def close(self) -> None:
        """Ask no more."""
        for checker in self._checkers.values():
            checker.close()
        self._checkers = {}


def _questions(snapshot: Snapshot) -> tuple[dict[Question, frozenset[Member]], dict[Question, HealthCheck]]:
    """Who is asked what, and how often; of several services that ask the same the first says that."""
    policies = policies_of(snapshot)
    members: dict[Question, frozenset[Member]] = {}
    checks: dict[Question, HealthCheck] = {}
    for service, endpoints in snapshot.endpoints.items():
        policy = policies.get(service)
        check = None if policy is None else policy.health
        if check is None:
            continue
        target = {"http": check.path, "grpc": check.service}.get(check.kind, "")
        for endpoint in endpoints.endpoints:
            asked = Check(check.kind, target)
            question = Question(endpoint.address, check.port or endpoint.port, asked, check.statuses)
            members[question] = members.get(question, frozenset()) | {Member(service, endpoint.id)}
            checks.setdefault(question, check)
    return members, checks


class _Checker:
    """Asks one question again and again."""

    __slots__ = (
        "_check",
        "_on_change",
        "_probe",
        "_question",
        "_task",
        "_timer",
        "_tracker",
        "fault",
        "members",
    )

    def __init__(self, question: Question, check: HealthCheck, on_change: OnChange) -> None:
        self._question = question
        self._check = check
        self._on_change = on_change
        subject = Subject(question.host, question.port, "The endpoint")
        self._probe = make_probe(question.check, subject, question.statuses, keep=True)
        self._tracker = HealthTracker(_limits(check), "The endpoint")
        self.members: frozenset[Member] = frozenset()
        self.fault = ""
        """What is wrong; empty: it counts as well."""
        self._task: asyncio.Task[None] | None = None
        # Sidecars that hear of a new endpoint at the same time do not ask it all at once.
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = loop.call_later(random.random() * check.interval_s, self._begin)

    def configure(self, check: HealthCheck) -> None:
        """Go by these times and numbers from now on."""
        if check is not self._check:
            self._check = check
            self._tracker.configure(_limits(check))

    def set_members(self, members: frozenset[Member]) -> None:
        """Ask on behalf of these; those that come or go hear of it if it is not well."""
        before, self.members = self.members, members
        if self.fault:
            for member in before - members:
                self._on_change(member.service, member.endpoint, "")
            for member in members - before:
                self._on_change(member.service, member.endpoint, self.fault)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._probe.close()

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        fault = await self._result()
        self._task = None
        self._tracker.observe(fault)
        self._take(self._tracker.reason if self._tracker.health == "unhealthy" else "")
        interval_s = self._check.interval_s * (1.0 + JITTER * (2.0 * random.random() - 1.0))
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._begin)

    async def _result(self) -> str | None:
        timeout_s = self._check.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._probe.ask()
        except TimeoutError:
            return f"The endpoint did not answer {self._question.check} within {timeout_s:g} s."
        except Exception as error:  # a fault of ours must not end the checks
            fault = f"The endpoint could not be asked {self._question.check}: {error!r}."
            if fault != self._tracker.reason:
                log.exception("A health check failed in an unexpected way.")
            return fault

    def _take(self, fault: str) -> None:
        before, self.fault = self.fault, fault
        if bool(before) is bool(fault):
            return
        for member in self.members:
            self._on_change(member.service, member.endpoint, fault)


def _limits(check: HealthCheck) -> Limits:
    return Limits(check.healthy_after, check.unhealthy_after, check.interval_s, check.interval_s, check.timeout_s)
