"""What would happen to a request now, after all that applies to it is known."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from remora.model.names import ServiceName
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.fallback import CAUSES
from remora.sidecar.explain.numbers import percent
from remora.sidecar.explain.policies import failing_of
from remora.sidecar.explain.subject import Subject, View
from remora.sidecar.explain.values import BackendFacts, Explanation, Failing, Rule
from remora.sidecar.wire.heads import RequestHead


def fails(base: Explanation, head: RequestHead, failure: Failure, **details: object) -> Explanation:
    """The mesh answers it itself."""
    return fails_with(base, failing_of(failure, failure.sentence.format(**details), head))


def judged(base: Explanation, subject: Subject, view: View) -> Explanation:
    """`base`, which knows backends and rules, with what would happen now: gates come first, then what stands against
    each backend that is possible."""
    possible = [each for each in base.backends if each.chosen] or [each for each in base.backends if each.weight]
    if subject.service.policy.fallback is None and not any(_is_known(backend, view) for backend in possible):
        return fails(base, subject.head, failures.NO_ENDPOINT, service=possible[0].service)
    for rule in base.rules:
        if rule.failing is not None and rule.chance >= 1.0:
            return _fallen(fails_with(base, rule.failing), subject)
    against = [_objection(backend, subject.head, view) for backend in possible]
    if all(against):
        return _fallen(fails_with(base, next(each for each in against if each)), subject)
    there = (_destination(backend, objection, view) for backend, objection in zip(possible, against, strict=True))
    return replace(base, now=(*_on_the_way(base.rules), *there))


def fails_with(base: Explanation, failing: Failing) -> Explanation:
    """The same, where it is known what is answered."""
    now = f"the sidecar answers {failing.answer} itself: {failing.sentence}"
    return replace(base, failing=failing, now=(now,))


def _is_known(backend: BackendFacts, view: View) -> bool:
    """Requests for a service of which no instance has ever been heard do not get as far as the gates."""
    service = ServiceName(backend.service)
    if view.live:
        return view.cluster(service) is not None
    return not view.knows_endpoints or service in view.table.snapshot.endpoints


def _objection(backend: BackendFacts, head: RequestHead, view: View) -> Failing | None:
    """What stands against attempts now: a breaker, a cap, or that there is nobody to ask."""
    service = ServiceName(backend.service)
    cluster = view.cluster(service)
    found = None if cluster is None else cluster.objection()
    if found is not None:
        failure = failures.OF_LIMIT[found.limit]
        details = {"document": found.document, "most": found.most, "wait_s": found.wait_s}
        return failing_of(failure, failure.sentence.format(service=service, **details), head)
    if view.knows_endpoints and not any(endpoint.usable for endpoint in backend.endpoints):
        return failing_of(failures.NO_ENDPOINT, failures.NO_ENDPOINT.sentence.format(service=service), head)
    return None


def _fallen(base: Explanation, subject: Subject) -> Explanation:
    """With what answers instead, if something does."""
    fallback = subject.service.policy.fallback
    if fallback is None or base.failing is None or CAUSES.get(base.failing.flag) not in fallback.on:
        return base
    if fallback.service is not None:
        return replace(base, now=(*base.now, f"its fallback is asked instead: {fallback.service}"), failing=None)
    if subject.head.is_grpc or subject.head.asks_for_tunnel:
        return base  # texts are for HTTP
    if fallback.answer is not None:
        instead = f"its fallback answers instead: {fallback.answer.status}"
        return replace(base, now=(*base.now, instead), failing=None)
    return replace(base, now=(*base.now, "unless there is a good answer of before: that is given instead"))


def _on_the_way(rules: tuple[Rule, ...]) -> Iterator[str]:
    """What may happen before it goes anywhere."""
    for rule in rules:
        if rule.missed:
            continue
        if rule.name == "fault":
            yield f"on purpose ({rule.source.document}): {rule.says[0]}"
        elif rule.failing is not None:
            failing = rule.failing
            yield f"{percent(rule.chance)} of such requests are answered {failing.answer}: {failing.sentence}"


def _destination(backend: BackendFacts, objection: Failing | None, view: View) -> str:
    chance = "" if backend.chosen else f" ({percent(backend.share)} of such requests)"
    usable = [endpoint for endpoint in backend.endpoints if endpoint.usable]
    if objection is not None:
        return f"what is for {backend.service}{chance} is answered {objection.answer}: {objection.sentence}"
    if not view.knows_endpoints:
        return f"it goes to {backend.service}{chance}; the file does not say where its instances are"
    if backend.session:
        return f"it goes to {backend.service}, where its session is, at {backend.session}"
    if backend.place:
        return f"it goes to {backend.service}{chance}, where its key leads to {backend.place}"
    if len(usable) == 1:
        return f"it goes to {backend.service}{chance}, at {usable[0].address}"
    return f"it goes to {backend.service}{chance}, at one of {len(usable)} usable endpoints"
