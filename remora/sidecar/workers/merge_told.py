"""What all workers say to a question of /explain, as one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from remora.sidecar.admin.pages import Page
from remora.sidecar.explain.page import looks_back, page_of
from remora.sidecar.explain.values import BackendFacts, EndpointFacts, Explanation, Rule
from remora.sidecar.workers.messages import Told


def merge_told(told: Mapping[int, Told], query: str) -> Page:
    """By worker."""
    if looks_back(query):
        found = [replace(each, worker=worker) for worker, answer in told.items() for each in answer.happened]
        return page_of(sorted(found, key=lambda each: each.at))
    explanations = {worker: each.explanation for worker, each in told.items() if each.explanation is not None}
    if not explanations:
        return _nobody()
    return page_of(_merged(explanations))


def _nobody() -> Page:
    """No worker carries traffic now."""
    return Page(b'{"error": "no worker answers: look at sidecar status"}\n', status=503)


def _merged(explanations: Mapping[int, Explanation]) -> Explanation:
    """The route is the same in all; what stands against the request may not be."""
    first = next(iter(explanations.values()))
    backends = tuple(
        _backend(backend, {worker: each.backends for worker, each in explanations.items()})
        for backend in first.backends
    )
    rules = tuple(
        _rule(rule, {worker: each.rules[index] for worker, each in explanations.items() if len(each.rules) > index})
        for index, rule in enumerate(first.rules)
    )
    failing = first.failing if all(each.failing is not None for each in explanations.values()) else None
    said = {worker: each.now for worker, each in explanations.items()}
    return replace(first, backends=backends, rules=rules, failing=failing, now=_said(said))


def _rule(rule: Rule, by_worker: Mapping[int, Rule]) -> Rule:
    now = {worker: each.now for worker, each in by_worker.items()}
    if len(set(now.values())) == 1:
        return rule
    return replace(rule, now="; ".join(f"worker {worker}: {text}" for worker, text in now.items()))


def _said(by_worker: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    if len(set(by_worker.values())) == 1:
        return next(iter(by_worker.values()))
    return tuple(f"worker {worker}: {text}" for worker, texts in by_worker.items() for text in texts)


def _backend(backend: BackendFacts, by_worker: Mapping[int, Sequence[BackendFacts]]) -> BackendFacts:
    seen: dict[str, dict[int, EndpointFacts]] = {}
    for worker, backends in by_worker.items():
        for same in backends:
            if same.service == backend.service:
                for endpoint in same.endpoints:
                    seen.setdefault(endpoint.id, {})[worker] = endpoint
    return replace(backend, endpoints=tuple(_endpoint(views) for views in seen.values()))


def _endpoint(views: Mapping[int, EndpointFacts]) -> EndpointFacts:
    """Requests and connections are added up; states that are not the same in all are told by worker."""
    worst = next((view for view in views.values() if not view.usable or view.note), next(iter(views.values())))
    notes = [f"worker {worker}: {view.state}" for worker, view in views.items()]
    differ = len({view.state for view in views.values()}) > 1
    return replace(
        worst,
        usable=all(view.usable for view in views.values()),
        active=sum(view.active for view in views.values()),
        connections=sum(view.connections for view in views.values()),
        note=", ".join(notes) if differ else worst.note,
    )
