"""What each policy says of a request: one small function for each, named in DESCRIBERS.

To add one: write a function of a Subject that yields Rules, and name it. What gates know (limits, faults, admission …)
they say themselves: `Gate.explain`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from remora.model.grpc import GRPC_STATUS_NAMES
from remora.model.policies import Balancer, Caps, Outlier, RetryBudget, RetryPolicy, ServicePolicy, Timeouts
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.faults import InjectedFault
from remora.sidecar.exchange.grpc_timeout import parse_grpc_timeout
from remora.sidecar.explain.limits import concurrency_there, limits_there
from remora.sidecar.explain.numbers import count, limit, percent, seconds
from remora.sidecar.explain.subject import Subject
from remora.sidecar.explain.values import Failing, From, Rule
from remora.sidecar.policy.retry import is_safe
from remora.sidecar.wire.heads import RequestHead

Describer = Callable[[Subject], Iterator[Rule]]


def timeouts(subject: Subject) -> Iterator[Rule]:
    """Each with where it stands: in the route, in a policy, nowhere, or in the request itself."""
    route, policy = subject.route, subject.service.policy
    times, defaults = policy.timeouts, Timeouts()
    of_service, of_route = From.of(policy.origin), _of_route(subject)
    request, one_try = route.route.request_timeout_s, route.route.per_try_timeout_s
    connect_s = subject.policy.timeouts.connect_s
    found: dict[From, list[str]] = {}
    for text, source in (
        (
            f"request {limit(route.request_timeout_s)}",
            of_route if request is not None else _source(times.request_s == defaults.request_s, of_service),
        ),
        (
            f"one try {limit(route.retry.per_try_s)}" if route.retry.per_try_s else "",
            of_route if one_try is not None else of_service,
        ),
        (f"connect {limit(connect_s)}", _source(connect_s == defaults.connect_s, From.of(subject.policy.origin))),
        (f"silence {limit(times.idle_s)}", _source(times.idle_s == defaults.idle_s, of_service)),
    ):
        if text:
            found.setdefault(source, []).append(text)
    for source, texts in found.items():
        yield Rule("timeouts", (", ".join(texts),), source)
    waits_s = parse_grpc_timeout(subject.head.grpc_timeout or b"")
    if waits_s is not None:
        says = f"the caller waits {seconds(waits_s)}: that is passed on, and nothing takes longer"
        yield Rule("deadline", (says,), From("grpc-timeout of the request"))


def retries(subject: Subject) -> Iterator[Rule]:
    """How often, upon what, and whether that is safe for this very request."""
    retry, head = subject.route.retry, subject.head
    if not retry.attempts:
        yield Rule("retry", ("none",), _retries_from(subject))
        return
    statuses = ", ".join(map(str, retry.codes))
    if head.is_grpc:
        statuses = ", ".join(GRPC_STATUS_NAMES[number] for number in retry.grpc_statuses)
    conditions = [
        text
        for on, text in (
            (retry.on_connect, "connect failure"),
            (retry.on_refused, "refused stream"),
            (retry.on_reset, "reset"),
            (bool(statuses), statuses),
        )
        if on
    ]
    says = [f"up to {count(retry.attempts, 'retry', 'retries')} on {', '.join(conditions)}"]
    safe = is_safe(retry, head.method, head.path, head.fields)
    method = head.method.decode("latin-1")
    if not safe:
        says.append(f"{method} is not safe to execute twice: only what surely was not executed is tried again")
    least = f"{seconds(retry.backoff_least_s)} to " if retry.backoff_least_s else ""
    says.append(f"wait {least}{seconds(retry.backoff_base_s)} at first, {seconds(retry.backoff_cap_s)} at most")
    yield Rule("retry", tuple(says), _retries_from(subject))
    source = _unless(subject.policy.retry.budget == RetryBudget(), subject.policy)
    yield Rule("retry budget", _budget(subject), source, _budget_now(subject))


def _budget(subject: Subject) -> tuple[str, ...]:
    budget = subject.policy.retry.budget
    share = percent(budget.share)
    return (
        f"retried at a time: at most {share} of live requests, or {budget.minimum}",
        f"retries over time: at most {share} of requests, or {budget.minimum_per_s} a second",
    )


def _budget_now(subject: Subject) -> str:
    cluster = subject.cluster
    if cluster is None:
        return ""
    budget = cluster.budget
    more = budget.has_place(cluster.active) and budget.has_retries(time.monotonic())
    return f"{count(budget.retrying, 'request')} being retried{'' if more else ': no room for more'}"


def _retries_from(subject: Subject) -> From:
    route = subject.route.route
    own = (route.retry_attempts, route.retry_codes, route.retry_backoff_s)
    if any(value is not None for value in own):
        return _of_route(subject)
    policy, default = subject.service.policy, RetryPolicy()
    # These are told of by themselves.
    said = msgspec.structs.replace(
        policy.retry,
        hedging=default.hedging,
        per_try_s=default.per_try_s,
        budget=default.budget,
        tells_timeout=default.tells_timeout,
    )
    return _unless(said == default, policy)


def hedging(subject: Subject) -> Iterator[Rule]:
    """Where there is any."""
    hedge = subject.route.retry.hedging
    if hedge is not None:
        safe = is_safe(subject.route.retry, subject.head.method, subject.head.path, subject.head.fields)
        says = f"after {seconds(hedge.delay_s)} without an answer {count(hedge.attempts, 'more try', 'more tries')}"
        missed = "" if safe else "it is not safe to execute twice"
        yield Rule("hedging", (says,), From.of(subject.service.policy.origin), missed=missed)


def balancer(subject: Subject) -> Iterator[Rule]:
    """How one of the endpoints is chosen."""
    policy = subject.policy.balancer
    says = [policy.kind.replace("_", " ")]
    if policy.kind in ("least_request", "peak_ewma"):
        says.append("of two drawn the one with the lower score")
    if policy.hash_on:
        says.append("by " + ", else ".join(f"{key.source} {key.name}".strip() for key in policy.hash_on))
    if policy.bounded_load is not None:
        says.append(f"none over {percent(policy.bounded_load)} of the mean")
    if policy.slow_start is not None:
        says.append(f"new endpoints warm up for {seconds(policy.slow_start.window_s)}")
    says.append(f"with fewer than {percent(policy.panic_share)} of the endpoints usable, all are used")
    yield Rule("balancer", tuple(says), _unless(policy == Balancer(), subject.policy))


def locality(subject: Subject) -> Iterator[Rule]:
    """Where zones count."""
    found = subject.policy.locality
    if found is not None:
        then = f", then {', '.join(found.failover)}" if found.failover else ""
        yield Rule("locality", (f"own zone first{then}, then all others",), From.of(subject.policy.origin))


def outliers(subject: Subject) -> Iterator[Rule]:
    """When an endpoint is left out."""
    outlier = subject.policy.outlier
    says = []
    if outlier.consecutive:
        says.append(
            f"{outlier.consecutive} failures in a row eject an endpoint for {seconds(outlier.base_s)}, "
            f"longer each time, {seconds(outlier.max_s)} at most, {percent(outlier.max_share)} of them at a time"
        )
    if outlier.success_rate is not None:
        rate = outlier.success_rate
        says.append(f"so does a success rate {rate.deviations:g} standard deviations below the mean")
    yield Rule("outliers", tuple(says) or ("off",), _unless(outlier == Outlier(), subject.policy))


def breaker(subject: Subject) -> Iterator[Rule]:
    """Where there is one."""
    found = subject.policy.breaker
    if found is None:
        yield Rule("breaker", ("none",))
        return
    per = "each endpoint" if found.per_endpoint else "the service"
    when = f"after {count(found.failures, 'failure')} in a row"
    if found.kind == "error_ratio":
        share, window = percent(found.error_share), seconds(found.window_s)
        when = f"when {share} of at least {found.volume} requests fail within {window}"
    says = [f"of {per}: opens {when}, for {seconds(found.sleep_s)}, then {count(found.probes, 'probe')}"]
    if found.shadow:
        says.append("in shadow mode: only counted")
    cluster = subject.cluster
    state = None if cluster is None or not subject.live else cluster.breakers.state
    now = ""
    if cluster is not None and state is not None:
        now = f"it is {state.value}"
        if cluster.is_shut:
            now += f", for up to {seconds(cluster.breakers.wait_s(cluster.endpoints))}"
    yield Rule("breaker", tuple(says), From.of(subject.policy.origin), now)


def caps(subject: Subject) -> Iterator[Rule]:
    """How much of this sidecar the service may take."""
    found, cluster = subject.policy.caps, subject.cluster
    limits = ((found.connections, "connections"), (found.pending, "waiting requests"), (found.requests, "requests"))
    says = ", ".join(f"{most or 'any number of'} {what}" for most, what in limits)
    now = ""
    if cluster is not None and subject.live:
        room = cluster.traffic.room
        open_ones, waiting = count(room.connections, "connection"), count(room.waiting, "waiting request")
        now = f"{open_ones}, {waiting}, {count(cluster.active, 'request')}"
    yield Rule("limits", (says,), _unless(found == Caps(), subject.policy), now)


def health(subject: Subject) -> Iterator[Rule]:
    """Where endpoints are asked."""
    check = subject.policy.health
    if check is not None:
        what = f"http {check.path}" if check.kind == "http" else check.kind
        says = f"{what} every {seconds(check.interval_s)}: {check.unhealthy_after} failures make it unhealthy"
        yield Rule("health checks", (says,), From.of(subject.policy.origin))


def fallback(subject: Subject) -> Iterator[Rule]:
    """Where there is one."""
    found = subject.service.policy.fallback
    if found is None:
        return
    what = "the last good answer"
    if found.service is not None:
        what = str(found.service)
    elif found.answer is not None:
        what = f"a fixed answer {found.answer.status}"
    causes = ", ".join(cause.replace("_", " ") for cause in found.on)
    yield Rule("fallback", (f"{what}, on {causes}",), From.of(subject.service.policy.origin))


def session(subject: Subject) -> Iterator[Rule]:
    """What keeps a user with one backend or endpoint."""
    kept = subject.route.route.session
    if kept is not None:
        says = f"the {kept.kind} {kept.name} keeps a session with the endpoint that answered its first request"
        yield Rule("session", (says,), _of_route(subject))
    sticky = subject.service.policy.sticky_by
    if sticky and len(subject.route.backends) > 1:
        by = ", else ".join(f"{key.source} {key.name}".strip() for key in sticky)
        yield Rule("split", (f"the same {by} goes to the same backend",), From.of(subject.service.policy.origin))


def gates(subject: Subject) -> Iterator[Rule]:
    """What limits, faults and the like say themselves."""
    for gate in subject.gates:
        for account in gate.explain(subject.head):
            stopped = account.stopped
            failing = None if stopped is None else failing_of(stopped.failure, stopped.detail, subject.head)
            now = account.now if subject.live else ""
            source = From.of(account.origin)
            yield Rule(account.name, account.says, source, now, account.missed, failing, account.chance)


def forbidden_faults(subject: Subject) -> Iterator[Rule]:
    """Faults that have no effect here."""
    if subject.faults:
        return
    for fault in subject.service.faults:
        missed = "this sidecar lets no fault have an effect (--faults off)"
        yield Rule("fault", (InjectedFault(fault).told(),), From.of(fault.origin), missed=missed)


def _unless(default: bool, policy: ServicePolicy) -> From:
    """The policy's document, unless that says nothing of it."""
    return _source(default, From.of(policy.origin))


def _source(default: bool, document: From) -> From:
    return From() if default else document


def _of_route(subject: Subject) -> From:
    return From.of(subject.route.route.origin)


def failing_of(failure: Failure, sentence: str, head: RequestHead) -> Failing:
    """What `head` is answered."""
    grpc_status = GRPC_STATUS_NAMES[failure.grpc_status] if head.is_grpc else ""
    return Failing(failure.flag, failure.status, failure.code, sentence, grpc_status)


DESCRIBERS: tuple[Describer, ...] = (
    forbidden_faults,
    gates,
    session,
    timeouts,
    retries,
    hedging,
    balancer,
    locality,
    outliers,
    caps,
    breaker,
    health,
    fallback,
    limits_there,
    concurrency_there,
)
"""In the order in which they are shown, which is that of a request's way."""

BEFORE_APP: tuple[Describer, ...] = (gates, timeouts, retries)
"""Of requests that come to the app."""
