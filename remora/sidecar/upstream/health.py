"""Active health checks: asks endpoints whether they are well, as their service's TrafficPolicy says.

Each place is asked by one timer and over one connection (TCP checks: one each time), however many services with the
same check it is an endpoint of. Differently from Envoy, an endpoint that has not been asked yet counts as well: it has
registered because its own sidecar found it well. Only changes are told; each answer is counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from remora.model.names import ServiceName
from remora.model.policies import HealthCheck
from remora.model.snapshot import Snapshot
from remora.sidecar.probe.probes import Check, Subject, make_probe
from remora.sidecar.probe.tracker import HealthTracker, Limits
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import policies_of

log = logging.getLogger(__name__)

JITTER = 0.1
"""Of the interval, either way: checks of many sidecars that began at the same time drift apart."""


class Member(NamedTuple):
    """An endpoint of a service."""

    service: ServiceName
    endpoint: str


class Question(NamedTuple):
    """What is asked where, and how often."""

    host: str
    port: int
    policy: HealthCheck

    @property
    def check(self) -> Check:
        policy = self.policy
        return Check(policy.kind, {"http": policy.path, "grpc": policy.service}.get(policy.kind, ""))

    @property
    def gist(self) -> tuple[object, ...]:
        """All but times and numbers."""
        return self.host, self.port, self.check, self.policy.statuses


OnChange = Callable[[ServiceName, str, str], None]
"""Gets service, endpoint id, and what is wrong with it; empty: it is well again."""


class HealthChecks:
    """Those of one sidecar."""

    __slots__ = ("_checkers", "_metrics", "_on_change")

    def __init__(self, on_change: OnChange, metrics: Metrics) -> None:
        self._on_change = on_change
        self._metrics = metrics
        self._checkers: dict[Question, _Checker] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Ask what this says. What has been found out stays, where nothing but times and numbers are others."""
        wanted = _questions(snapshot)
        self._reconfigure(wanted)
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
                known = self._checkers[question] = _Checker(question, self._on_change, self._metrics)
            known.set_members(members)

    def _reconfigure(self, wanted: Collection[Question]) -> None:
        spare = {question.gist: question for question in self._checkers if question not in wanted}
        for question in wanted:
            before = None if question in self._checkers else spare.pop(question.gist, None)
            if before is not None:
                checker = self._checkers[question] = self._checkers.pop(before)
                checker.configure(question.policy)

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


def _questions(snapshot: Snapshot) -> dict[Question, frozenset[Member]]:
    """What is asked, and on behalf of whom."""
    policies = policies_of(snapshot)
    found: dict[Question, frozenset[Member]] = {}
    for service, endpoints in snapshot.endpoints.items():
        policy = policies.get(service)
        if policy is None or policy.health is None:
            continue
        for endpoint in endpoints.endpoints:
            question = Question(endpoint.address, policy.health.port or endpoint.port, policy.health)
            found[question] = found.get(question, frozenset()) | {Member(service, endpoint.id)}
    return found


class _Checker:
    """Asks one question again and again."""

    __slots__ = (
        "_check",
        "_metrics",
        "_on_change",
        "_policy",
        "_probe",
        "_task",
        "_timer",
        "_tracker",
        "fault",
        "members",
    )

    def __init__(self, question: Question, on_change: OnChange, metrics: Metrics) -> None:
        self._policy = policy = question.policy
        self._on_change = on_change
        self._metrics = metrics
        self._check = question.check
        subject = Subject(question.host, question.port, "The endpoint")
        self._probe = make_probe(self._check, subject, policy.statuses, keep=True)
        self._tracker = HealthTracker(_limits(policy), "The endpoint")
        self.members: frozenset[Member] = frozenset()
        self.fault = ""
        """What is wrong; empty: it counts as well."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begin_any_time()

    def _begin_any_time(self) -> None:
        """Within an interval: sidecars that hear of a new endpoint at the same time do not ask it all at once."""
        self._begin_in(random.random())

    def _begin_in(self, intervals: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._policy.interval_s * intervals, self._begin)

    def configure(self, policy: HealthCheck) -> None:
        """Go by these times and numbers from now on."""
        before, self._policy = self._policy, policy
        self._tracker.configure(_limits(policy))
        if self._timer is not None and policy.interval_s != before.interval_s:
            self._timer.cancel()
            self._begin_any_time()

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
        for service in {member.service for member in self.members}:
            self._metrics.count_health_check(service, "failed" if fault else "passed")
        self._tracker.observe(fault)
        self._take(self._tracker.reason if self._tracker.health == "unhealthy" else "")
        self._begin_in(1.0 + JITTER * (2.0 * random.random() - 1.0))

    async def _result(self) -> str | None:
        timeout_s = self._policy.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._probe.ask()
        except TimeoutError:
            return f"The endpoint did not answer {self._check} within {timeout_s:g} s."
        except Exception as error:  # a fault of ours must not end the checks
            fault = f"The endpoint could not be asked {self._check}: {error!r}."
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
