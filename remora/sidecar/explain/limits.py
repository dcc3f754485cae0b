"""What limits say of a request: those that callers enforce tell of themselves (`Gate.explain`), here are the others."""

from __future__ import annotations

from collections.abc import Iterator

from remora.sidecar.exchange.rate_limit import told_of
from remora.sidecar.explain.subject import Subject
from remora.sidecar.explain.values import From, Rule
from remora.sidecar.routing.match import Matcher

_THERE = "enforced by the service's own sidecars"


def limits_there(subject: Subject) -> Iterator[Rule]:
    """Rate limits that the service's own sidecars enforce."""
    found = subject.service.limits.enforced(at_callers=False)
    for limit in found.limits:
        missed = Matcher(limit.matches).missed(subject.head)
        yield Rule("rate limit", (limit.name, *told_of(limit), _THERE), From.of(limit.origin), missed=missed)
    for external in found.external:
        asked = f"{external.host}:{external.port} is asked"
        yield Rule("rate limit service", (external.name, asked, _THERE), From.of(external.origin))


def concurrency_there(subject: Subject) -> Iterator[Rule]:
    """The bound on requests in flight to each instance."""
    found = subject.service.policy.concurrency
    if found is not None:
        says = [
            f"each instance takes {found.minimum} to {found.maximum} requests at a time, by how latency grows",
            _THERE,
        ]
        if found.shadow:
            says.append("in shadow mode: only counted")
        yield Rule("concurrency", tuple(says), From.of(subject.service.policy.origin))
