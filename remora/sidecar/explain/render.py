"""Explanations for people: what was asked, which route, where it goes, what applies, and what would happen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from remora.sidecar.explain.numbers import count, percent
from remora.sidecar.explain.paint import Paint
from remora.sidecar.explain.values import BackendFacts, Considered, EndpointFacts, Explanation, From, Rule

WIDTH = 120
MAX_SHOWN = 20
"""Routes that do not match, and endpoints, are shown up to so many."""
SECRETS = frozenset(("authorization", "cookie", "proxy-authorization"))
"""Headers whose values are not shown: people paste the page into tickets."""


def render(explanation: Explanation, paint: Paint) -> str:
    """The whole page."""
    return "\n".join(_lines(explanation, paint))


def _lines(told: Explanation, paint: Paint) -> Iterator[str]:
    yield from _question(told, paint)
    yield ""
    yield f"{paint.bold('service')}  {told.service or 'none of the mesh'}" + (f", {told.found}" if told.found else "")
    if told.service and not told.asked.inbound:
        yield from _routes(told, paint)
    if told.backends:
        yield ""
        yield paint.bold("where it goes")
        for backend in told.backends:
            yield from _backend(backend, paint, told)
    several = sum(backend.weight > 0 for backend in told.backends) > 1
    applies = "what applies" + (f" to what goes to {told.ruled}" if several else "")
    yield from _rules(applies, [rule for rule in told.rules if not rule.missed], paint)
    yield from _rules("what does not apply to this request", [rule for rule in told.rules if rule.missed], paint)
    yield ""
    colour = paint.bad if told.failing else paint.good
    for sentence in told.now:
        yield colour(f"{paint.sign('to')} {sentence}")
    if told.failing is not None:
        yield paint.dim(f"  flag {told.failing.flag}, x-mesh-error: {told.failing.code}")


def _question(told: Explanation, paint: Paint) -> Iterator[str]:
    asked = told.asked
    url = f"http://{asked.authority}{asked.path}" if asked.authority else asked.path
    yield paint.bold(f"{asked.method} {url}") + (", inbound" if asked.inbound else "")
    for name, value in asked.headers:
        yield paint.dim(f"  {name}: {'(not shown)' if name.lower() in SECRETS else value}")
    revision = f", revision {told.revision}" if told.revision else ""
    yield paint.dim(f"  configuration from {told.config}{revision}")


def _routes(told: Explanation, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint.bold("routes") + ("" if told.considered else "  none: all requests go to its own endpoints")
    missed = 0
    for route in told.considered:
        missed += route.outcome != "chosen"
        if route.outcome == "chosen" or missed <= MAX_SHOWN:
            yield from _route(route, paint)
    if missed > MAX_SHOWN:
        yield paint.dim(f"  and {missed - MAX_SHOWN} more that are not it (--json has all)")


def _route(route: Considered, paint: Paint) -> Iterator[str]:
    place = paint.dim(f"  {_from(route.source)}")
    if route.outcome == "chosen":
        yield f"  {paint.good(paint.sign('yes'))} {paint.bold(route.route)}{place}"
        yield f"      {route.asks_for}"
        yield from (f"      {done}" for done in route.filters)
    elif route.outcome == "not reached":
        yield f"  {paint.sign('idle')} {route.route}{place}"
        yield paint.dim("      matches too, but stands behind the one above")
    else:
        yield f"  {paint.bad(paint.sign('no'))} {route.route}{place}"
        yield from (f"      {why}" for why in route.why)


def _backend(backend: BackendFacts, paint: Paint, told: Explanation) -> Iterator[str]:
    usable = sum(endpoint.usable for endpoint in backend.endpoints)
    if backend.chosen:
        share = "all such requests" if backend.share in (0.0, 1.0) else f"{percent(backend.share)}, this user is in it"
    elif not backend.weight:
        share = "weight 0: nothing"
    elif any(each.chosen for each in told.backends):
        share = f"{percent(backend.share)}, this user is not in it"
    else:
        share = f"{percent(backend.share)}, by chance"
    health = f"{usable} of {count(len(backend.endpoints), 'endpoint')} usable" if backend.endpoints else "no endpoint"
    state = health if usable else paint.bad(health)
    if not told.live and not any(each.endpoints for each in told.backends):
        state = "instances unknown"
    yield f"  {paint.bold(backend.service)}  {share} {paint.sign('idle')} {state}, {backend.balancer}"
    yield from (f"    {done}" for done in backend.filters)
    if backend.sees:
        yield f"    it sees {'; '.join(backend.sees)}"
    yield from (f"    {paint.warn(zone) if 'panic' in zone else zone}" for zone in backend.zones)
    shown = backend.endpoints[:MAX_SHOWN]
    rows = [_endpoint(endpoint, live=told.live) for endpoint in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for endpoint, row in zip(shown, rows, strict=True):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        sign = paint.good(paint.sign("on")) if endpoint.usable else paint.bad(paint.sign("off"))
        yield f"    {sign} {text}"
    if len(backend.endpoints) > MAX_SHOWN:
        yield paint.dim(f"    and {len(backend.endpoints) - MAX_SHOWN} more (--json has all)")


def _endpoint(endpoint: EndpointFacts, *, live: bool) -> tuple[str, ...]:
    score = "" if endpoint.score is None else f"score {endpoint.score:.3g}"
    where = " ".join(part for part in (endpoint.version, endpoint.zone) if part)
    weight = "" if endpoint.weight == 1 else f"weight {endpoint.weight:.3g}"
    busy = f"{endpoint.active} live, {count(endpoint.connections, 'connection')}" if live else ""
    return endpoint.address, where, endpoint.state, score, busy, weight, endpoint.note


def _rules(title: str, rules: Sequence[Rule], paint: Paint) -> Iterator[str]:
    if not rules:
        return
    yield ""
    yield paint.bold(title)
    width = max(len(rule.name) for rule in rules)
    indent = " " * (width + 6)
    for rule in rules:
        sign = paint.bad(paint.sign("no")) if rule.missed else paint.sign("idle")
        for number, line in enumerate(_wrapped(rule, WIDTH - len(indent), paint)):
            yield f"  {sign} {rule.name:{width}}  {line}" if number == 0 else indent + line


def _wrapped(rule: Rule, width: int, paint: Paint) -> Iterator[str]:
    """What it says and where that stands, why it is not for this request, and how it is at the moment."""
    lines = textwrap.wrap("; ".join(rule.says), width)
    source = _from(rule.source)
    if lines and len(lines[-1]) + len(source) + 4 <= width:
        lines[-1] += paint.dim(f"  ({source})")
    else:
        lines.append(paint.dim(f"({source})"))
    yield from lines
    if rule.missed:
        yield from textwrap.wrap(f"because: {rule.missed}", width)
    if rule.now:
        now = textwrap.wrap(f"now: {rule.now}", width)
        yield from map(paint.bad, now) if rule.failing else now


def _from(source: From) -> str:
    rule = "" if source.rule is None else f", rule {source.rule}"
    return f"{source.document}{rule}" + (f", revision {source.revision}" if source.revision else "")
