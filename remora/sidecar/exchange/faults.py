"""Faults: requests that are held up or refused on purpose, as a FaultPolicy says."""

from __future__ import annotations

import time
from collections.abc import Sequence

from remora.model.grpc import GRPC_STATUS_NAMES
from remora.model.limits import Fault
from remora.model.snapshot import Service
from remora.sidecar.exchange.failures import FAULT, FAULT_DELAY_FLAG, Failure
from remora.sidecar.exchange.gate import Account, Delayed, Gate, PlainGate, Stopped, Verdict
from remora.sidecar.routing.match import Matcher
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import RequestHead


class InjectedFault:
    """One of them, compiled."""

    __slots__ = ("fault", "kind", "matcher", "policy", "stopped", "verdict")

    def __init__(self, fault: Fault) -> None:
        """Raises RegexError."""
        self.fault = fault
        self.matcher = Matcher(fault.matches)
        self.policy = f"{fault.origin.namespace}/{fault.origin.name}"
        stopped = None
        if fault.status:
            failure = Failure(FAULT.flag, fault.status, fault.grpc_status, FAULT.code, FAULT.sentence)
            stopped = Stopped(failure, FAULT.sentence.format(policy=fault.origin))
        self.stopped = stopped
        """How it ends, if it is an abort."""
        self.kind = "delay" if stopped is None else "abort"
        self.verdict: Verdict = Delayed(fault.delay_s, stopped, FAULT_DELAY_FLAG) if fault.delay_s else stopped

    def missed(self, head: RequestHead, wall: float) -> str:
        """Why it is not for a request at all, for people; empty when chance decides. `wall` is Unix time."""
        if not self.fault.enabled:
            return "it is switched off (enabled: false)"
        if self._is_over(wall):
            return "it has expired"
        return self.matcher.missed(head)

    def is_for(self, head: RequestHead, wall: float) -> bool:
        """Whether chance decides. `wall` is Unix time."""
        return self.fault.enabled and not self._is_over(wall) and self.matcher.takes(head)

    def told(self) -> str:
        """What it does, for people."""
        fault = self.fault
        delay = [f"delays for {fault.delay_s:g} s"] if fault.delay_s else []
        abort = [f"aborts with {fault.status}, gRPC {GRPC_STATUS_NAMES[fault.grpc_status]}"] if fault.status else []
        return f"{fault.share * 100:g} % of requests: {' and '.join([*delay, *abort])}"

    def _is_over(self, wall: float) -> bool:
        return self.fault.until > 0.0 and wall >= self.fault.until


class FaultGate(PlainGate):
    """The faults of a service."""

    __slots__ = ("_faults", "_metrics", "_service", "faults")

    def __init__(self, service: Service, metrics: Metrics) -> None:
        """Raises RegexError."""
        self.faults = service.faults
        self._faults = tuple(InjectedFault(fault) for fault in service.faults)
        self._service: str = service.name
        self._metrics = metrics

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:  # noqa: ARG002
        found = self.draw(head, time.time(), random)
        if found is None:
            return None
        self._metrics.count_fault(self._service, found.policy, found.kind)
        return found.verdict

    def draw(self, head: RequestHead, wall: float, random: float) -> InjectedFault | None:
        """The fault of a request, if any: those that are for it have their shares of [0, 1) side by side."""
        for fault in self._faults:
            if fault.is_for(head, wall):
                if random < fault.fault.share:
                    return fault
                random -= fault.fault.share
        return None

    def explain(self, head: RequestHead) -> Sequence[Account]:
        wall, left = time.time(), 1.0
        accounts = []
        for fault in self._faults:
            account = Account("fault", (fault.told(),), fault.fault.origin, missed=fault.missed(head, wall))
            if not account.missed:
                share = min(left, fault.fault.share)
                left -= share
                if fault.stopped is not None:
                    account = account.stopping(fault.stopped, share)
            accounts.append(account)
        return accounts


class FaultGates:
    """Makes the gates of services that have faults."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def make(self, service: Service, before: Gate | None) -> Gate | None:
        """A GateMaker."""
        if not service.faults:
            return None
        if isinstance(before, FaultGate) and before.faults == service.faults:
            return before
        return FaultGate(service, self._metrics)
