"""What an exchange is of attempts beside each other: those of a hedged request (`hedges.py`).

One attempt is the exchange's own, as without hedges; the others are its rivals. The first answer that is worth
forwarding makes its attempt the exchange's own, and the others are given up. When the own attempt has come to nothing,
a rival takes its place; only when all have, the request has failed, and may be tried again like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remora.sidecar.exchange.hedges import Hedges
from remora.sidecar.exchange.repeats import with_one_more_attempt
from remora.sidecar.exchange.tries import Tries
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import RequestStream

if TYPE_CHECKING:
    from remora.sidecar.exchange.attempt import Attempt
    from remora.sidecar.exchange.proxy import Proxy

HEDGE = "hedge"
"""How one is counted among the retries."""


class Racing(Tries):
    """The hedges of one request, if it may have any."""

    __slots__ = ("hedges",)

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        Tries.__init__(self, proxy, downstream, head, end)
        self.hedges: Hedges | None = None
        """Set if the request may be hedged."""

    def _attempt_at(self, endpoint: UpstreamEndpoint) -> None:
        if self.hedges is not None:
            self._hedge_later(self.hedges)
        super()._attempt_at(endpoint)

    def _hedge_later(self, hedges: Hedges) -> None:
        """Unless there is an answer by then. The delay counts from the end of the request on."""
        if hedges.left and self._request_ended:
            self._proxy.timers.start(hedges.timer, hedges.policy.delay_s)

    def on_hedge_due(self) -> None:
        """The answer keeps its caller waiting."""
        hedges, decision, attempt = self.hedges, self.decision, self._attempt
        if hedges is None or decision is None or attempt is None or self._committed or not self.is_safe:
            return
        cluster = decision.cluster
        if cluster.active >= cluster.traffic.asks_from:
            return
        endpoint = self._endpoint_for_hedge(hedges, attempt)
        if endpoint is None or not self._has_budget(decision, has_place=cluster.budget.has_place(cluster.active - 1)):
            return
        self._proxy.metrics.count_retry(decision.service, HEDGE)
        if self.is_grpc:
            self.head.fields = with_one_more_attempt(self.head.fields)
        rival = self._prepare(endpoint)
        hedges.add(rival)
        if self._per_try_s:
            self._time_try()
        self._hedge_later(hedges)
        rival.start(self._proxy.protocol)

    def _endpoint_for_hedge(self, hedges: Hedges, attempt: Attempt) -> UpstreamEndpoint | None:
        """One that has not had the request, if there is any."""
        decision, repeats = self.decision, self.repeats
        assert decision is not None, "only decided requests are hedged"
        tried = () if repeats is None else repeats.tried
        taken = (*tried, attempt.endpoint, *[rival.endpoint for rival in hedges.rivals])
        endpoint = decision.cluster.pick(taken, decision.key)
        return None if endpoint in taken else endpoint

    @property
    def _has_rivals(self) -> bool:
        return self.hedges is not None and bool(self.hedges.rivals)

    def _others_go_on(self) -> bool:
        hedges, attempt = self.hedges, self._attempt
        if hedges is None or not hedges.rivals or attempt is None:
            return False
        racing = [each for each in (attempt, *hedges.rivals) if not each.is_over]
        self._tried(*[each.endpoint for each in (attempt, *hedges.rivals) if each.is_over])
        self._attempt = racing[0] if racing else None
        hedges.keep(racing[1:])
        return bool(racing)

    def _settle(self, hedges: Hedges) -> None:
        """One of the attempts has an answer to forward: the others are given up."""
        self._proxy.timers.cancel(hedges.timer)
        attempt, rivals = self._attempt, hedges.rivals
        hedges.keep([])
        if attempt is None:
            return
        for each in (attempt, *rivals):
            if each.is_forwarding:
                self._attempt = each
            else:
                each.give_up(Outcome.UNKNOWN)

    def on_try_timeout(self) -> None:
        """It counts from the newest attempt on, and ends all."""
        hedges = self.hedges
        if hedges is not None and hedges.rivals:
            self._tried(*[rival.endpoint for rival in hedges.rivals])
            hedges.give_up(Outcome.FAILED)
        super().on_try_timeout()

    def _end_tries(self, outcome: Outcome) -> None:
        hedges = self.hedges
        if hedges is not None:
            self._proxy.timers.cancel(hedges.timer)
            hedges.give_up(outcome)
        super()._end_tries(outcome)
