"""Whether two proxies have done the same with a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from tests.differential.policies.asks import Ask
from tests.differential.policies.play import Outcome
from tests.differential.policies.stage import CASE, Arrival
from tests.differential.policies.tables import MARK, Document, Table

ROUTE = "another route"
BACKEND = "a backend that the route does not have"
REQUEST = "another request upstream"
COPIES = "other copies for a mirror"
PLACE = "a second attempt where the first has failed"
ATTEMPTS = "another number of attempts"
ANSWER = "another answer"
ANSWER_FIELDS = "other fields of the answer"

_OF_THE_HOP = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date", b"server", b"via", CASE)
)
_OF_THE_PROXY = frozenset(
    (b"traceparent", b"tracestate", b"x-forwarded-for", b"x-forwarded-proto", b"x-mesh-error", b"grpc-timeout")
)

Combined = dict[bytes, bytes]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference that has to be explained, or mended."""

    kind: str
    table: Table
    ask: Ask
    us: Outcome
    them: Outcome
    detail: str
    field: bytes = b""
    """Of the answer: the one that differs."""

    @property
    def rule(self) -> Document:
        """The one that took the request, as Envoy sees it; empty: none did."""
        return self.table.rule(mark_of(self.them)) or self.table.rule(mark_of(self.us)) or {}

    @property
    def retry(self) -> Document:
        """Of the policy."""
        found: Document = self.table.policy["spec"]["retry"]
        return found

    @property
    def is_void(self) -> bool:
        """Envoy ran out of time though no upstream hangs: the machine is too slow to tell anything."""
        hangs = any(act.deed == "hang" for act in self.ask.script)
        return self.them.answered_by is None and self.them.status == 504 and not hangs

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.detail}\n  asked: {self.ask}\n  ours:  {self.us}\n  Envoy: {self.them}\n"
            f"  rule:  {self.rule}\n  retry: {self.retry}, {self.table.policy['spec']['timeouts']}"
        )


def judge(table: Table, ask: Ask, us: Outcome, them: Outcome) -> list[Finding]:
    """The same route, number of attempts, requests upstream and answer. With another route or number all else is
    other too, and not worth telling."""

    def findings(*laws: tuple[str, object, object]) -> list[Finding]:
        return [
            Finding(kind, table, ask, us, them, f"ours {ours}, Envoy {theirs}")
            for kind, ours, theirs in laws
            if ours != theirs
        ]

    return (
        findings((ROUTE, mark_of(us), mark_of(them)))
        or findings((BACKEND, _strays(table, us), _strays(table, them)))
        or findings((ATTEMPTS, _attempts(us, them), _attempts(them, us)))
        or findings(
            (PLACE, _stays(us), _stays(them)),
            (REQUEST, requests(us.arrivals), requests(them.arrivals)),
            (COPIES, requests(us.copies), requests(them.copies)),
            (ANSWER, _answer(us), _answer(them)),
        )
        + list(_other_fields(table, ask, us, them))
    )


def mark_of(outcome: Outcome) -> str:
    """The rule that took the request, as told upstream or by the answer; empty: none."""
    for arrival in outcome.arrivals:
        return dict(arrival.fields).get(MARK.encode(), b"").decode()
    return (outcome.field(MARK.encode()) or b"").decode()


def _strays(table: Table, outcome: Outcome) -> list[str]:
    """Backends that got the request and should not; a request stays with the one that was drawn for it."""
    refs = (table.rule(mark_of(outcome)) or {}).get("backendRefs", ())
    allowed = {ref["name"] for ref in refs if ref.get("weight", 1)}
    backends = [arrival.backend for arrival in outcome.arrivals]
    return [backend for backend in backends if backend not in allowed or backend != backends[0]]


def drawn_by(table: Table, outcome: Outcome) -> tuple[Document, str]:
    """The rule that took the request, and the backend that got it; both empty: none."""
    rule = table.rule(mark_of(outcome))
    return (rule, outcome.arrivals[0].backend) if rule and outcome.arrivals else ({}, "")


def drew_differently(table: Table, us: Outcome, them: Outcome) -> bool:
    """Whether chance sent them to backends that do different things to requests."""
    rule = table.rule(mark_of(us)) or {}
    if not any("filters" in ref for ref in rule.get("backendRefs", ())) or not us.arrivals or not them.arrivals:
        return False
    return us.arrivals[0].backend != them.arrivals[0].backend


def _attempts(outcome: Outcome, other: Outcome) -> tuple[int, int | None]:
    """Those that arrived; where none did, those that were made."""
    made = not outcome.arrivals and not other.arrivals and outcome.tries is not None and other.tries is not None
    return len(outcome.arrivals), outcome.tries if made else None


def _stays(outcome: Outcome) -> bool:
    ports = [arrival.port for arrival in outcome.arrivals[:2]]
    return len(ports) == 2 and ports[0] == ports[1]


def requests(arrivals: Sequence[Arrival], but: bytes = b"") -> list[object]:
    """What arrived, but for this field."""
    return [(seen.method, seen.target, seen.length, sorted(_own_fields(seen, but))) for seen in arrivals]


def _own_fields(arrival: Arrival, but: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Fields of a request that are not a proxy's own, repeated ones joined."""
    for name, value in _combined(arrival.fields).items():
        made = name == b"x-request-id" and not value.startswith(b"id-")
        if name != but:
            yield name, b"made" if made else value


def _combined(fields: tuple[tuple[bytes, bytes], ...]) -> Combined:
    found: Combined = {}
    for name, value in fields:
        if name in _OF_THE_HOP or name in _OF_THE_PROXY or name.startswith(b"x-envoy-"):
            continue
        parts = [part.strip() for part in (*found.get(name, b"").split(b","), *value.split(b","))]
        # Empty elements of a list do not count (RFC 9110 §5.6.1).
        found[name] = b",".join(filter(None, parts))
    return found


def _answer(outcome: Outcome) -> tuple[object, ...]:
    status = outcome.status, outcome.field(b"grpc-status")
    return *status, outcome.whole, outcome.answered_by, location_of(outcome)


def location_of(outcome: Outcome) -> str:
    """With the host in lower case, and without a port that goes without saying."""
    parts = urlsplit((outcome.field(b"location") or b"").decode())
    host = parts.netloc.lower()
    default = {"http": ":80", "https": ":443"}.get(parts.scheme)
    return parts._replace(netloc=host.removesuffix(default) if default else host).geturl()


def _other_fields(table: Table, ask: Ask, us: Outcome, them: Outcome) -> Iterator[Finding]:
    ours, theirs = _answer_fields(us), _answer_fields(them)
    for name in sorted(ours.keys() | theirs.keys()):
        our_value, their_value = ours.get(name, b""), theirs.get(name, b"")
        if our_value != their_value:
            detail = f"{name.decode()}: ours {our_value!r}, Envoy {their_value!r}"
            yield Finding(ANSWER_FIELDS, table, ask, us, them, detail, name)


def _answer_fields(outcome: Outcome) -> Combined:
    fields = _combined(tuple(outcome.fields))
    for name in (b"location", b"grpc-status"):
        fields.pop(name, None)
    if outcome.answered_by is None:
        # What a proxy says in an answer of its own is its own.
        for name in (b"content-type", b"x-request-id", b"grpc-message"):
            fields.pop(name, None)
    return fields
