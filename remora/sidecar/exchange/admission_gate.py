"""Admission control as a gate, at the caller: a service that fails most requests gets fewer."""

from __future__ import annotations

import time
from collections.abc import Sequence

from remora.model.base import Origin
from remora.model.policies import AdmissionControl
from remora.model.snapshot import Service
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.gate import Account, Gate, PlainGate, Stopped, Verdict
from remora.sidecar.exchange.gates import GateMaker
from remora.sidecar.policy.admission import Admission
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.telemetry.shadow import Shadow
from remora.sidecar.wire.heads import RequestHead


class AdmissionGate(PlainGate):
    """Of one service. What it sheds counts as a request that failed."""

    def __init__(self, service: str, config: AdmissionControl, metrics: Metrics, origin: Origin | None = None) -> None:
        self.config = config
        self._service = service
        self._origin = origin
        self._admission = Admission(config)
        self._shadow = Shadow(service, "admission", metrics)

    def configure(self, config: AdmissionControl, origin: Origin | None) -> None:
        """Go on with `config`; what was counted stays, unless over another window."""
        self.config = config
        self._origin = origin
        self._admission.configure(config)

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:  # noqa: ARG002
        admission = self._admission
        share = admission.shed_share(now)
        if random >= share:
            return None
        failure = failures.ADMISSION_SHED
        detail = failure.sentence.format(service=self._service, percent=100 * share)
        if self.config.shadow:
            self._shadow.note(now, detail)
            return None
        admission.on_shed(now)
        return Stopped(failure, detail)

    def explain(self, head: RequestHead) -> Sequence[Account]:  # noqa: ARG002
        config = self.config
        says = [
            f"what is over {config.multiplier:g} times the good answers is shed, {100 * config.max_share:g} % at most"
        ]
        if config.shadow:
            says.append("in shadow mode: only counted")
        share = self._admission.shed_share(time.monotonic())
        account = Account("admission", tuple(says), self._origin, f"{100 * share:.3g} % are shed")
        if not share or config.shadow:
            return [account]
        failure = failures.ADMISSION_SHED
        detail = failure.sentence.format(service=self._service, percent=100 * share)
        return [account.stopping(Stopped(failure, detail), share)]

    def leave(self, outcome: Outcome, now: float, seconds: float) -> None:  # noqa: ARG002
        if outcome is not Outcome.UNKNOWN:
            self._admission.on_answer(now, accepted=outcome is Outcome.OK)


def admission_maker(metrics: Metrics) -> GateMaker:
    """Makes these gates."""

    def make(service: Service, before: Gate | None) -> Gate | None:
        config = service.policy.admission
        if config is None:
            return None
        if isinstance(before, AdmissionGate):
            before.configure(config, service.policy.origin)
            return before
        return AdmissionGate(service.name, config, metrics, service.policy.origin)

    return make
