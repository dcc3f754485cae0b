"""Differences to Envoy that are meant. docs/envoy-differences.md gives each of them, by this name, with its reason.

What is in no class here is mended, or the test fails. So each class says as much as it can of what must have happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.differential.policies.asks import LONG_BODY, Act
from tests.differential.policies.grpc_tables import KNOWN_TO_ENVOY
from tests.differential.policies.judge import (
    ANSWER,
    ANSWER_FIELDS,
    ATTEMPTS,
    COPIES,
    REQUEST,
    ROUTE,
    Finding,
    location_of,
    requests,
)
from tests.differential.policies.tables import COLD, Document
from tests.differential.policies.translate import DEFAULT_STATUSES

_SENT = (REQUEST, COPIES)
_REDIRECTS = range(300, 400)
IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")


def _is_safe(finding: Finding) -> bool:
    ask = finding.ask
    declared = finding.retry.get("safeMethods", ())
    return ask.method in (*IDEMPOTENT, *declared) or ask.target in declared or bool(ask.values("idempotency-key"))


def _stopped_after(finding: Finding) -> Act | None:
    """What the upstream did at our last attempt, when Envoy went on from there to the same answer or a later one."""
    us, them = finding.us, finding.them
    if finding.kind != ATTEMPTS or not us.arrivals or len(us.arrivals) >= len(them.arrivals):
        return None
    return finding.ask.act(len(us.arrivals) - 1)


def _unsafe(finding: Finding) -> object:
    before = [finding.ask.act(number).deed for number in range(len(finding.us.arrivals) - 1)]
    return _stopped_after(finding) is not None and set(before) <= {"refuse"} and not _is_safe(finding)


def _asked_to_wait(finding: Finding) -> object:
    act = _stopped_after(finding)
    return (
        act is not None and act.retry_after not in ("", "0") and finding.us.answered_by == len(finding.us.arrivals) - 1
    )


def _too_long(finding: Finding) -> object:
    return _stopped_after(finding) is not None and len(finding.us.arrivals) == 1 and len(finding.ask.body) == LONG_BODY


def _only_a_reset(finding: Finding) -> object:
    conditions = finding.retry.get("conditions", ("ConnectFailure", "RefusedStream", "Reset"))
    cold = any(ref["name"] == COLD for ref in finding.rule.get("backendRefs", ()))
    if "Reset" not in conditions:
        return False
    if finding.kind == ATTEMPTS and cold:
        return finding.us.tries == 1 and "ConnectFailure" not in conditions
    act = _stopped_after(finding)
    return act is not None and act.deed == "refuse" and "RefusedStream" not in conditions


def _matches(finding: Finding) -> Iterator[Document]:
    for rule in finding.table.rules:
        yield from rule.get("matches", ())


def _matched_apart(finding: Finding) -> bool:
    """Whether they may have taken two matches, of one rule or of two."""
    ours = finding.kind in (ANSWER, ANSWER_FIELDS) and finding.us.answered_by is None
    return ours or finding.kind in (ROUTE, *_SENT)


def _decoded_query(finding: Finding) -> object:
    query = urlsplit(finding.ask.target).query
    matched = any("queryParams" in match for match in _matches(finding))
    return _matched_apart(finding) and matched and ("%" in query or "+" in query)


def _joined(finding: Finding) -> object:
    names = {item["name"].lower() for match in _matches(finding) for item in match.get("headers", ())}
    return _matched_apart(finding) and any(len(finding.ask.values(name)) > 1 for name in names)


def _one_of_a_kind(finding: Finding) -> object:
    added = [name for edit in _edits(finding, "requestHeaderModifier") for name in _edited(edit, "set", "add")]
    there = {"content-type": len(finding.ask.values("content-type")), "x-request-id": 1}
    return finding.kind in _SENT and any(count + added.count(name) > 1 for name, count in there.items())


def _edits(finding: Finding, way: str) -> list[Document]:
    """What the rule and each of its backends edit."""
    places = (finding.rule, *finding.rule.get("backendRefs", ()))
    return [item[way] for place in places for item in place.get("filters", ()) if way in item]


def _edited(edit: Document, *actions: str) -> list[str]:
    items = [item for action in actions for item in edit.get(action, ())]
    return [(item if isinstance(item, str) else item["name"]).lower() for item in items]


def _edited_twice(finding: Finding) -> object:
    """The same field, or the host, by the rule and by a backend."""
    edits = _edits(finding, "requestHeaderModifier")
    names = Counter(name for edit in edits for name in set(_edited(edit, "set", "add", "remove")))
    names["host"] = sum("hostname" in rewrite for rewrite in _edits(finding, "urlRewrite"))
    return finding.kind in _SENT and max(names.values()) > 1


def _trickled(finding: Finding) -> object:
    us, them = finding.us, finding.them
    if finding.kind != ANSWER or us.answered_by is None or us.answered_by != them.answered_by:
        return False
    return finding.ask.act(us.answered_by).deed == "trickle" and us.whole and not them.whole


def _kept_port(finding: Finding) -> object:
    redirects = [item["requestRedirect"] for item in finding.rule.get("filters", ()) if "requestRedirect" in item]
    if finding.kind != ANSWER or not redirects or "hostname" not in redirects[0] or "scheme" in redirects[0]:
        return False
    port = finding.ask.authority.partition(":")[2]
    ours, theirs = urlsplit(location_of(finding.us)), urlsplit(location_of(finding.them))
    return port and ours._replace(netloc=ours.netloc.removesuffix(f":{port}")) == theirs


def _told_of_retries(finding: Finding) -> object:
    field = b"grpc-previous-rpc-attempts"
    return (
        finding.kind == REQUEST
        and finding.ask.grpc
        and requests(finding.us.arrivals, field) == requests(finding.them.arrivals)
    )


def _by_trailers(finding: Finding) -> object:
    us, them = finding.us, finding.them
    if finding.kind != ATTEMPTS or them.answered_by is None or len(us.arrivals) <= len(them.arrivals):
        return False
    act = finding.ask.act(them.answered_by)
    statuses = finding.retry.get("grpcStatuses", DEFAULT_STATUSES)
    return act.deed == "trailers" and act.status in [KNOWN_TO_ENVOY[name][0] for name in statuses]


def _out_of_time(finding: Finding) -> object:
    us, them = finding.us, finding.them
    if finding.kind != ANSWER or not finding.ask.grpc or (us.answered_by, them.answered_by) != (None, None):
        return False
    hung = bool(us.arrivals) and finding.ask.act(len(us.arrivals) - 1).deed == "hang"
    return hung and (us.field(b"grpc-status"), them.field(b"grpc-status")) == (b"4", b"14")


def _edited_by_the_backend(finding: Finding) -> object:
    filters = [item for ref in finding.rule.get("backendRefs", ()) for item in ref.get("filters", ())]
    return finding.kind == COPIES and any(item["type"] != "ResponseHeaderModifier" for item in filters)


def _asked(finding: Finding) -> bool:
    return finding.ask.method == "OPTIONS" and bool(finding.ask.values("access-control-request-method"))


def _preflight(finding: Finding) -> bool:
    """Whether both have answered one."""
    return _asked(finding) and (finding.us.status, finding.them.status) == (204, 200) and not finding.them.arrivals


def _answered_preflight(finding: Finding) -> object:
    us = finding.us
    silent = finding.kind == ANSWER_FIELDS and us.field(finding.field) is None
    exposed = silent and finding.field == b"access-control-expose-headers"
    unknown = (
        silent and us.field(b"access-control-allow-origin") is None and finding.field.startswith(b"access-control-")
    )
    return _preflight(finding) and (finding.kind == ANSWER or exposed or unknown)


def _varies(finding: Finding) -> object:
    allowed = finding.us.field(b"access-control-allow-origin")
    told = (finding.us.field(b"vary"), finding.them.field(b"vary")) == (b"origin", None)
    return finding.kind == ANSWER_FIELDS and finding.field == b"vary" and told and allowed


def _leads_nowhere(finding: Finding) -> object:
    """Envoy answered by a route that has no cluster: a redirect, or weights that are all 0."""
    us, them = finding.us, finding.them
    said = us.field(b"access-control-allow-origin") or (_asked(finding) and us.status == 204)
    told = finding.kind in (ROUTE, ANSWER) or finding.field.startswith(b"access-control-")
    silent = not them.field(b"access-control-allow-origin") and not them.arrivals
    return told and said and silent and them.status in (*_REDIRECTS, 500)


def _exposed_by_name(finding: Finding) -> object:
    exposed = finding.kind == ANSWER_FIELDS and finding.field == b"access-control-expose-headers"
    return (
        exposed and finding.us.field(b"access-control-allow-credentials") and finding.them.field(finding.field) == b"*"
    )


EXPLAINED: dict[str, Callable[[Finding], object]] = {
    "What is not safe is not tried again": _unsafe,
    "A server that asks to wait is obeyed": _asked_to_wait,
    "A long body is sent once": _too_long,
    "A reset is neither a failed connect nor a refused stream": _only_a_reset,
    "Query parameters are compared decoded": _decoded_query,
    "A repeated field is matched as one": _joined,
    "A field that can be there once is there once": _one_of_a_kind,
    "A rule edits a request before its backend does": _edited_twice,
    "A copy for a mirror is not what a backend made of it": _edited_by_the_backend,
    "A streamed answer has no total": _trickled,
    "Retries of gRPC are told": _told_of_retries,
    "The status of a unary call may come in its trailers": _by_trailers,
    "A call that is out of time ends with DEADLINE_EXCEEDED": _out_of_time,
    "A redirect to another host keeps the port": _kept_port,
    "A preflight has no content": _answered_preflight,
    "What depends on the origin says so": _varies,
    "Redirects tell other origins too": _leads_nowhere,
    "With credentials, headers are exposed by name": _exposed_by_name,
}


def explanation(finding: Finding) -> str | None:
    """The class of EXPLAINED that `finding` belongs to; None: there is none."""
    return next((name for name, holds in EXPLAINED.items() if holds(finding)), None)
