"""What an exchange is of fallbacks: once, a failure is answered by something else. See `fallback.py`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from remora.model.policies import FallbackCause
from remora.sidecar.exchange.answering import Answering
from remora.sidecar.exchange.failures import NOT_EXECUTED, Failure
from remora.sidecar.exchange.fallback import CAUSES, FallbackKind, Fallen, MadeAnswer
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import RequestStream

if TYPE_CHECKING:
    from remora.sidecar.exchange.decision import Decision
    from remora.sidecar.exchange.proxy import Proxy

UPSTREAM_SAID_SO = ""
"""The flag of a failure that the service has told itself, by a status."""


class FallingBack(Answering):
    """The fallback of one request, if its service has one."""

    __slots__ = ("_fallen",)

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        Answering.__init__(self, proxy, downstream, head, end)
        self._fallen: Fallen | None = None
        """It has fallen back."""

    @abstractmethod
    def _limit_time(self, decision: Decision) -> None:
        """From now on the request has the time that the decision gives it."""

    @abstractmethod
    def _be_edited(self) -> None:
        """The request is to be as its filters make it from here on."""

    @abstractmethod
    def _pass(self, gates: tuple[Gate, ...]) -> None:
        """Pass these, as a request that is edited already, then try."""

    @abstractmethod
    def _leave_gates(self, flag: str) -> None:
        """The request has failed, by `flag`, as far as the gates are concerned that it has passed."""

    def _replaced(self, failure: Failure) -> bool:
        cause = CAUSES.get(failure.flag)
        return cause is not None and self._fall_back(cause, failure.flag)

    def gives_way(self) -> bool:
        return self._fall_back("failure", UPSTREAM_SAID_SO)

    def _fall_back(self, cause: FallbackCause, flag: str) -> bool:
        decision = self.decision
        if decision is None or self._fallen is not None or self.done:
            return False
        rule = decision.fallback
        if rule is None or cause not in rule.causes:
            return False
        self._be_edited()
        made = None
        if not self.is_grpc and not self.head.asks_for_tunnel:
            made = rule.made_answer(decision, self.head, bare=self._is_bare)
        if made is not None:
            self._fallen_to(made.kind, cause, decision, flag)
            self._give(made, flag)
            return True
        other = rule.other_service(decision) if self._may_go_elsewhere(flag) else None
        if other is None:
            return False
        self._fallen_to("service", cause, decision, flag)
        self._go_to(other)
        return True

    def _fallen_to(self, kind: FallbackKind, cause: FallbackCause, decision: Decision, flag: str) -> None:
        self._leave_gates(flag)
        self._why = f"its fallback answers ({kind.replace('_', ' ')}), because of: {cause.replace('_', ' ')}"
        self._fallen = Fallen(decision.cluster.name, decision.route, flag)
        self._proxy.metrics.count_fallback(decision.service, cause, kind)

    def _give(self, made: MadeAnswer, flag: str) -> None:
        self._end_tries(Outcome.FAILED)
        self._answer(made.head, made.body)
        self._finish(flag)

    def _may_go_elsewhere(self, flag: str) -> bool:
        """Whether the whole request is at hand, its caller still waits, and executing it does no harm."""
        if self._committed or self.time_is_up():
            return False
        return flag in NOT_EXECUTED or self.is_safe

    def _go_to(self, other: Decision) -> None:
        self._end_tries(Outcome.FAILED)
        self.hedges = self.repeats = None
        self._downstream.resume()
        self.decision = other
        self._per_try_s = other.retry.per_try_s
        self._limit_time(other)
        self._pass(other.gates)
