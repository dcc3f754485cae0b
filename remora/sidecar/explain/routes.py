"""Which routes a request was held against, and why each but one is not its route."""

from __future__ import annotations

from collections.abc import Iterator

from remora.model.routes import Route
from remora.sidecar.explain import filters
from remora.sidecar.explain.values import Considered, From, Outcome
from remora.sidecar.routing.match import Condition, path_condition
from remora.sidecar.routing.table import CompiledRoute, CompiledService
from remora.sidecar.wire.heads import RequestHead


def considered(service: CompiledService, head: RequestHead) -> tuple[Considered, ...]:
    """All routes of the service, in order of precedence; then those that are for callers elsewhere."""
    used = frozenset(id(compiled.route) for compiled in service.routes)
    others = (route for route in service.service.routes if id(route) not in used)
    return (*_held_against(service.routes, head), *(_for_others(route) for route in others))


def _held_against(routes: tuple[CompiledRoute, ...], head: RequestHead) -> Iterator[Considered]:
    """By each condition of each, not by the index that finds the one in no time: that is what is to be explained."""
    found = False
    for compiled in routes:
        conditions = _conditions(compiled)
        why = tuple(f"{each.text}: {each.seen(head)}" for each in conditions if not each.holds(head))
        outcome: Outcome = "missed" if why else "not reached" if found else "chosen"
        found = found or not why
        asks_for = " and ".join(each.text for each in conditions) or "any request"
        done = tuple(filters.told(compiled.route.filters)) if outcome == "chosen" else ()
        yield Considered(compiled.name, From.of(compiled.route.origin), asks_for, outcome, why, done)


def _conditions(compiled: CompiledRoute) -> tuple[Condition, ...]:
    path = compiled.route.match.path
    indexed = () if path is None or path.kind == "regex" else (path_condition(path),)
    return (*indexed, *compiled.conditions)


def _for_others(route: Route) -> Considered:
    if route.consumers:
        why = f"it is for callers of namespace {route.consumers}"
    else:
        why = "this caller's namespace has routes of its own to the service, and they alone count"
    return Considered(route.name, From.of(route.origin), "", "for others", (why,))
