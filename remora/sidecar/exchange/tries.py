"""What an exchange is of attempts: it makes them one after another, each timed, until one has an answer to forward.

Until then the request's body is kept (`replay.py`), so that another attempt can be made; what has come to nothing is
remembered in `repeats.py`.
"""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.clock import RequestClock
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.repeats import MAX_RESENDS, Repeats, with_one_more_attempt
from remora.sidecar.exchange.replay import REPLAY_BYTES, Replay
from remora.sidecar.exchange.story import Story
from remora.sidecar.exchange.try_timer import TryTimer
from remora.sidecar.policy.outcome import FAILED_GRPC, Outcome
from remora.sidecar.policy.retry import (
    UNPROCESSED,
    AttemptFailure,
    backoff_s,
    is_condition,
    is_safe,
    may_retry,
    wait_asked_for,
)
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.upstream.room import Limit, Objection
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestStream, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.exchange.attempt import Attempt
    from remora.sidecar.exchange.decision import Decision
    from remora.sidecar.exchange.proxy import Proxy

MAX_ASKED_WAIT_S = 60.0
"""An upstream that asks to wait longer before another try is taken at its word by its client, not by us."""

_LEAST_FAILURE = 500
"""Of HTTP's statuses."""

_NO_FIELDS: Fields = []


class Tries(RequestClock):
    """The attempts of one request."""

    __slots__ = (
        "_attempt",
        "_blocked",
        "_committed",
        "_downstream",
        "_per_try_s",
        "_proxy",
        "_request_ended",
        "_try_timer",
        "decision",
        "done",
        "head",
        "is_grpc",
        "repeats",
        "replay",
        "story",
    )

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        RequestClock.__init__(self, proxy.timers)
        self._proxy = proxy
        self._downstream = downstream
        self.head = head
        self.is_grpc = head.content_type is not None and head.is_grpc
        self._request_ended = end
        self.decision: Decision | None = None
        self.done = False
        """The downstream has its answer, or is gone."""
        self._attempt: Attempt | None = None
        self._blocked = False
        """The downstream is slow: attempts must not read on."""
        self._committed = False
        """There will be no other attempt: an answer is being forwarded, or the body is too long to be kept."""
        self.replay: Replay | None = None
        """The body so far, unless there is none or it is no longer kept."""
        self.repeats: Repeats | None = None
        """What attempts have come to nothing, if any."""
        self._per_try_s = 0.0
        """Limit of one try; 0: none."""
        self._try_timer: TryTimer | None = None
        self.story: Story | None = None
        """Of attempts that have not simply succeeded, if any."""

    @abstractmethod
    def fail(self, failure: Failure, fields: Fields = _NO_FIELDS, **details: object) -> None:
        """Answer with `failure`, in place of an answer from upstream; `details` are those of its sentence."""

    def note(self, attempt: Attempt, result: str) -> None:
        """For people: an attempt has come to nothing, and how."""
        if self.story is None:
            self.story = Story()
        self.story.note(attempt, result)

    @abstractmethod
    def _new_attempt(self, endpoint: UpstreamEndpoint) -> Attempt:
        """One that has not started."""

    def _try(self) -> None:
        decision, repeats = self.decision, self.repeats
        assert decision is not None, "attempts are made once decided"
        cluster = decision.cluster
        traffic = cluster.traffic
        if traffic.active >= traffic.asks_from:
            objection = cluster.objection()
            if objection is not None:
                self._stop_for(objection)
                return
        if repeats is None:
            cluster.budget.on_request(self.started)
        persistence = decision.persistence
        if persistence is not None and repeats is None and persistence.endpoint is not None:
            self._attempt_at(persistence.endpoint)
            return
        endpoint = cluster.pick(() if repeats is None else repeats.tried, decision.key)
        if endpoint is None:
            self._stop_for(cluster.objection())
            return
        self._attempt_at(endpoint)

    def _stop_for(self, objection: Objection | None) -> None:
        """The cluster does not take another attempt; without an objection because it has no endpoint."""
        decision = self.decision
        assert decision is not None, "only decided requests are attempted"
        service = decision.cluster.name
        if objection is None:
            self.fail(failures.NO_ENDPOINT, service=service)
            return
        failure, wait_s = failures.OF_LIMIT[objection.limit], objection.wait_s
        fields = failures.retry_after(self.head, wait_s) if objection.limit == "breaker" else _NO_FIELDS
        details = {"service": service, "document": objection.document, "most": objection.most, "wait_s": wait_s}
        self.fail(failure, fields, **details)

    def on_no_room(self, limit: Limit) -> None:
        """The attempt may not wait for a connection."""
        if self._others_go_on():
            return
        decision = self.decision
        assert decision is not None, "only decided requests are attempted"
        self._stop_for(decision.cluster.over(limit))

    def _attempt_at(self, endpoint: UpstreamEndpoint) -> None:
        self._attempt = attempt = self._prepare(endpoint)
        if self._per_try_s:
            self._time_try()
        attempt.start(self._proxy.protocol)

    def _prepare(self, endpoint: UpstreamEndpoint) -> Attempt:
        """An attempt that is told how long its caller still waits, and reads no faster than its downstream."""
        head = self.head
        if head.grpc_timeout is not None:
            head.grpc_timeout = self.grpc_timeout_left(head.grpc_timeout, of_total=not self.is_grpc)
        attempt = self._new_attempt(endpoint)
        if self._attempt is not None or self.repeats is not None:
            attempt.began = time.monotonic()
        if self._blocked:
            attempt.pause()
        return attempt

    def _time_try(self) -> None:
        """The time of one try counts from the end of the request on."""
        if not self._request_ended:
            return
        if self._try_timer is None:
            self._try_timer = TryTimer(self.on_try_timeout)
        self._proxy.timers.start(self._try_timer, self._per_try_s)

    def on_try_timeout(self) -> None:
        """The attempt has had its time."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(Outcome.FAILED)
            self.on_attempt_failed(attempt.endpoint, AttemptFailure.TIMEOUT, AttemptFailure.TIMEOUT.value)

    @property
    def body_ended(self) -> bool:
        """Whether the downstream has sent all of the request."""
        return self._request_ended

    def on_attempt_sent(self) -> None:
        """The attempt has caught up with the request."""
        if self.replay is not None and self.replay.size > REPLAY_BYTES:
            self._commit()
            self._downstream.resume()

    def _commit(self) -> None:
        self._committed = True
        self.replay = None

    # ── retries ──

    @property
    def is_safe(self) -> bool:
        """Whether executing the request twice does no harm."""
        decision = self.decision
        head = self.head
        return decision is not None and is_safe(decision.retry, head.method, head.path, head.fields)

    @property
    @abstractmethod
    def _has_rivals(self) -> bool:
        """Whether several attempts are in flight: what has failed is no answer then."""

    @abstractmethod
    def _others_go_on(self) -> bool:
        """Whether other attempts are in flight, in place of one that has come to nothing."""

    def retries_status(self, head: ResponseHead, told: AttemptFailure | None) -> AttemptFailure | None:
        """As what an answer of HTTP is given up for another attempt; None: it is not. `told`: why the request provably
        has not been processed."""
        decision = self.decision
        if head.status >= _LEAST_FAILURE and self._has_rivals:
            return AttemptFailure.STATUS
        if decision is None or (told is None and head.status not in decision.retry.codes):
            return None
        return self._retries_answer(head.fields, head.status in decision.retry.codes, told)

    def retries_grpc_status(self, status: bytes, fields: Fields, told: AttemptFailure | None) -> AttemptFailure | None:
        """The same of an answer of gRPC `status`; `fields` are its last ones."""
        decision = self.decision
        if status in FAILED_GRPC and self._has_rivals:
            return AttemptFailure.STATUS
        if decision is None or not status.isdigit():
            return None
        return self._retries_answer(fields, int(status) in decision.retry.grpc_statuses, told)

    def _retries_answer(self, fields: Fields, retriable: bool, told: AttemptFailure | None) -> AttemptFailure | None:
        """Whether the policy, the budget and the server let an answer with these fields be tried again, or it is being
        tried elsewhere already. `retriable`: its status may be."""
        decision = self.decision
        failure = AttemptFailure.STATUS if retriable else None
        if retriable and self._has_rivals:
            return failure
        if told is not None and decision is not None and is_condition(decision.retry, told):
            failure = told
        if failure is None or not self._can_retry(failure, judged=1):
            return None
        wait_s = wait_asked_for(fields, time.time())
        return failure if 0.0 <= (wait_s or 0.0) < min(self.time_left(), MAX_ASKED_WAIT_S) else None

    def _can_retry(self, failure: AttemptFailure, judged: int = 0) -> bool:
        """`judged`: so many attempts are not over yet, while it is decided what their answers are worth."""
        decision, repeats = self.decision, self.repeats
        if decision is None or self._committed or self.done:
            return False
        if not may_retry(decision.retry, failure, 0 if repeats is None else repeats.retries, self.is_safe):
            return False
        cluster = decision.cluster
        if cluster.is_shut:
            return False
        if failure is AttemptFailure.CONNECT:
            return True
        has_place = (repeats is not None and repeats.has_place) or cluster.budget.has_place(cluster.active - judged)
        return self._has_budget(decision, has_place=has_place, spends=failure not in UNPROCESSED)

    def _has_budget(self, decision: Decision, *, has_place: bool, spends: bool = True) -> bool:
        """Whether the budget lets another attempt be made. `has_place`: it would let it be in flight now; `spends`: it
        has to be paid for."""
        if has_place and (not spends or decision.cluster.budget.has_retries(time.monotonic())):
            return True
        self._proxy.metrics.count_retry_denied(decision.service)
        return False

    def retry(self, endpoint: UpstreamEndpoint, failure: AttemptFailure, fields: Fields = _NO_FIELDS) -> None:
        """Make another attempt, after a backoff or as long as the answer's `fields` ask for, elsewhere than at
        `endpoint` if there is elsewhere."""
        decision = self.decision
        assert decision is not None, "only decided requests are retried"
        if self._others_go_on():
            return
        self._attempt = None
        repeats = self._tried(endpoint)
        repeats.may_be_executed |= failure not in UNPROCESSED
        wait_s = wait_asked_for(fields, time.time()) if fields else None
        if wait_s is None:
            wait_s = backoff_s(decision.retry, repeats.retries, random.random())
        self._proxy.metrics.count_retry(decision.service, failure.value)
        if failure is not AttemptFailure.CONNECT:
            repeats.take_place(decision.cluster.budget)
        if failure not in UNPROCESSED:
            decision.cluster.budget.spend(time.monotonic())
        repeats.wait(wait_s, self._try_again)

    def _repeat(self) -> Repeats:
        """Be ready for another attempt, which takes the body anew."""
        self._downstream.resume()
        if self.repeats is None:
            self.repeats = Repeats()
        return self.repeats

    def _tried(self, *endpoints: UpstreamEndpoint) -> Repeats:
        """Be ready for another attempt, elsewhere than there."""
        repeats = self._repeat()
        repeats.tried = (*repeats.tried, *endpoints)
        return repeats

    def _try_again(self) -> None:
        if self.done:
            return
        if self.is_grpc:
            self.head.fields = with_one_more_attempt(self.head.fields)
        self._try()

    def resend(self, endpoint: UpstreamEndpoint, *, may_be_executed: bool = False) -> None:
        """The attempt met a connection that was closing, and nothing of it arrived, or at least it looks so: that is no
        try, so another is made at once."""
        decision, repeats = self.decision, self.repeats
        assert decision is not None, "only decided requests are attempted"
        if self._others_go_on():
            return
        self._attempt = None
        if self.done:
            return
        if self._committed or (repeats is not None and repeats.resends >= MAX_RESENDS):
            self.on_attempt_failed(endpoint, AttemptFailure.REFUSED, ResetReason.STALE.value)
            return
        repeats = self._repeat()
        repeats.resends += 1
        repeats.may_be_executed |= may_be_executed
        self._proxy.metrics.count_retry(decision.service, ResetReason.STALE.value)
        self._attempt_at(endpoint)

    def on_attempt_failed(self, endpoint: UpstreamEndpoint, failure: AttemptFailure, reason: str) -> None:
        """The attempt came to nothing before an answer; `reason` says how."""
        if self._others_go_on():
            return
        if self._can_retry(failure):
            self.retry(endpoint, failure)
        elif failure is AttemptFailure.CONNECT:
            self.fail(failures.CONNECT_FAILURE, reason=reason)
        elif failure is AttemptFailure.TIMEOUT:
            self.fail(failures.TIMEOUT, seconds=self._per_try_s)
        else:
            self.fail(failures.UPSTREAM_RESET, reason=reason)

    def on_broken_protocol(self) -> None:
        """The attempt's answer was none."""
        if not self._others_go_on():
            self.fail(failures.UPSTREAM_PROTOCOL)

    def _end_tries(self, outcome: Outcome) -> None:
        """No attempt is wanted any more; `outcome` is that of those in flight."""
        if self._try_timer is not None:
            self._proxy.timers.cancel(self._try_timer)
        if self.repeats is not None:
            self.repeats.end()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(outcome)

    # ── the body ──

    def _keep(self, data: bytes, sending: bool) -> None:
        replay = self.replay
        if replay is None:
            self.replay = replay = Replay()
        replay.keep(data)
        if replay.size > REPLAY_BYTES:
            if sending:
                self._commit()
            else:
                self._downstream.pause()
