"""Routes of gRPC by chance, calls of them, and how their upstreams fail."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.differential.policies.asks import Act, Ask
from tests.differential.policies.tables import (
    GRPC_BACKENDS,
    LONG,
    PER_TRY,
    SHORT,
    Document,
    Table,
    marking,
    policy_document,
)

SERVICES = ("shop.v1.Orders", "shop.v1.Order", "shop.v2.Orders", "Health")
METHODS = ("Get", "GetAll", "Put", "Check")
SERVICE_REGEXES = ("shop[.]v[12][.]Orders", "shop.*", ".*")
METHOD_REGEXES = ("Get.*", "(Get|Put)", ".*")
KNOWN_TO_ENVOY = {
    "CANCELLED": (1, "cancelled"),
    "DEADLINE_EXCEEDED": (4, "deadline-exceeded"),
    "RESOURCE_EXHAUSTED": (8, "resource-exhausted"),
    "INTERNAL": (13, "internal"),
    "UNAVAILABLE": (14, "unavailable"),
}
"""Statuses that it can try again after: number, and name in `retry_on`."""
OTHERS = (0, 5, 7)
MESSAGE = b"\0\0\0\0\5hello"


def make_grpc_table(random: Random, service: str) -> Table:
    maker = _Maker(random)
    rules = [maker.rule(f"rule-{number}") for number in range(random.randint(1, 4))]
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GRPCRoute",
        "metadata": {"name": service},
        "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": service}], "rules": rules},
    }
    request = SHORT if random.random() < 0.2 else LONG
    return Table(service, (route,), policy_document(service, maker.retry(), request), grpc=True)


def make_call(random: Random, table: Table) -> Ask:
    matches = [match for rule in table.routes[0]["spec"]["rules"] for match in rule.get("matches", ())]
    aim: Document = random.choice(matches) if matches and random.random() < 0.8 else {}
    names = aim.get("method", {})
    exact = "type" not in names
    service = names["service"] if exact and "service" in names else random.choice(SERVICES)
    method = names["method"] if exact and "method" in names else random.choice(METHODS)
    fields = [(item["name"], item["value"]) for item in aim.get("headers", ()) if random.random() < 0.9]
    if random.random() < 0.1:
        fields.append(("x-color", "blue"))
    if random.random() < 0.1:
        fields.append(("idempotency-key", "k-1"))
    script = tuple(_act(random) for _ in range(random.choice((0, 1, 1, 2, 3))))
    return Ask(table.service, "POST", f"/{service}/{method}", tuple(fields), MESSAGE, script, grpc=True)


def _act(random: Random) -> Act:
    deed: Any = random.choices(
        ("trailers only", "trailers", "answer", "refuse", "reset", "hang"), (40, 20, 8, 8, 8, 6)
    )[0]
    if deed == "answer":
        return Act("answer", random.choice((200, 500, 503, 504)))
    if deed not in ("trailers only", "trailers"):
        return Act(deed)
    pushback = random.choice(("0", "-1", "5000")) if random.random() < 0.05 else ""
    numbers = [number for number, _ in KNOWN_TO_ENVOY.values()]
    return Act(deed, random.choice((14, 14, *numbers, *OTHERS)), pushback)


class _Maker:
    def __init__(self, random: Random) -> None:
        self._random = random

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def retry(self) -> Document:
        random = self._random
        retry: Document = {}
        if self._chance(0.5):
            retry["attempts"] = random.randint(0, 4)
        if self._chance(0.5):
            retry["grpcStatuses"] = sorted(random.sample(sorted(KNOWN_TO_ENVOY), random.randint(0, 3)))
        if self._chance(0.3):
            retry["codes"] = random.sample((500, 503, 504), random.randint(0, 2))
        if self._chance(0.2):
            retry["perTryTimeout"] = PER_TRY
        if self._chance(0.3):
            retry["conditions"] = random.sample(("ConnectFailure", "RefusedStream", "Reset"), random.randint(0, 3))
        if self._chance(0.7):
            pairs = [f"/{service}/{method}" for service in SERVICES for method in METHODS]
            retry["safeMethods"] = ["POST"] if self._chance(0.5) else random.sample(pairs, 8)
        return retry

    def rule(self, name: str) -> Document:
        random = self._random
        matches = [self._match() for _ in range(random.choice((0, 1, 1, 2)))]
        fields: Document = {"matches": matches} if matches else {}
        chosen = random.sample(GRPC_BACKENDS, random.choice((1, 1, 2)))
        fields["backendRefs"] = [{"name": backend, "weight": random.choice((1, 1, 3))} for backend in chosen]
        return marking(name, **fields)

    def _match(self) -> Document:
        random = self._random
        match: Document = {}
        if self._chance(0.85):
            regex = self._chance(0.3)
            names: Document = {"type": "RegularExpression"} if regex else {}
            has_service = self._chance(0.7)
            if has_service:
                names["service"] = random.choice(SERVICE_REGEXES if regex else SERVICES)
            if not has_service or self._chance(0.6):
                names["method"] = random.choice(METHOD_REGEXES if regex else METHODS)
            match["method"] = names
        if self._chance(0.3):
            match["headers"] = [{"name": "x-color", "value": random.choice(("red", "blue"))}]
        return match
