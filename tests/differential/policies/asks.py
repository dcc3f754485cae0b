"""Requests by chance, most of them made for one of a table's rules, and what upstreams do with them."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any, Literal

from tests.differential.policies.tables import (
    HEADER_NAMES,
    HEADER_VALUES,
    METHODS,
    ORIGINS,
    QUERY_NAMES,
    RETRY_CODES,
    SEGMENTS,
    Document,
    Table,
)

Deed = Literal[
    "answer", "reset", "close", "hang", "slow", "break", "trickle", "trailers only", "trailers", "refuse", "hold"
]

ODD_ENDS = ("//a", "/../b", "/./a", "/a;x=1", "%2Fa", "/A", "/.", "/%C3%BC", "/a%00")
"""Of paths: nothing of them is made into anything else."""

SLOW_S = 0.03
TRICKLE_S = 0.8

LONG_BODY = 100 * 1024
"""More than we keep for another attempt, less than Envoy does."""


@dataclasses.dataclass(frozen=True)
class Act:
    """What an upstream does at one attempt, once it has the request.

    `answer` by `status`; `reset`: RST; `close`: FIN, without an answer; `hang` until the other side goes; `slow`:
    answer after SLOW_S; `hold`: answer when somebody says so; `break`: RST in the middle of an answer; `trickle`: an
    answer of unknown length that takes TRICKLE_S. Of gRPC, with a `status` of gRPC: `trailers only` without a head
    before them, `trailers` after one; `refuse`: REFUSED_STREAM.
    """

    deed: Deed = "answer"
    status: int = 200
    retry_after: str = ""
    """Seconds; of gRPC the milliseconds of a pushback."""

    def __str__(self) -> str:
        deed = "" if self.deed == "answer" else f"{self.deed} "
        return f"{deed}{self.status}" + (f" (to wait {self.retry_after})" if self.retry_after else "")


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request, and what becomes of it upstream: an act for each attempt, after the last one 200."""

    authority: str
    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    script: tuple[Act, ...] = ()
    grpc: bool = False
    http2: bool = False
    """The client speaks HTTP/2; of gRPC it always does."""
    mirrored: Act = Act()
    """What becomes of a copy."""

    def act(self, attempt: int) -> Act:
        """Of the attempt of this number, from 0."""
        return self.script[attempt] if attempt < len(self.script) else Act()

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name]

    def __str__(self) -> str:
        fields = "".join(f", {name}: {value}" for name, value in self.fields)
        script = ", ".join(map(str, self.script)) or "200"
        spoken = "by HTTP/2 " if self.http2 else ""
        return f"{spoken}{self.method} {self.authority} {self.target}{fields} +{len(self.body)}; upstream: {script}"


def make_ask(random: Random, table: Table) -> Ask:
    return _AskMaker(random, table).make()


class _AskMaker:
    def __init__(self, random: Random, table: Table) -> None:
        self._random = random
        self._table = table

    def make(self) -> Ask:
        random = self._random
        match = self._aim()
        method = match.get("method") or random.choice(("GET", "GET", *METHODS))
        if self._chance(0.1):
            method = random.choice(METHODS)
        fields = [(item["name"], self._value(item)) for item in match.get("headers", ()) if self._chance(0.9)]
        fields += self._noise()
        if self._table.has_cors and self._chance(0.7):
            fields.append(("Origin", random.choice(ORIGINS)))
            if self._chance(0.5):
                method = "OPTIONS"
                fields.append(("Access-Control-Request-Method", random.choice(METHODS)))
                fields += [("Access-Control-Request-Headers", "x-color, x-size")] * self._chance(0.5)
        body = b""
        if method in ("POST", "PUT", "PATCH"):
            body = b"x" * (LONG_BODY if self._chance(0.05) else random.choice((0, 5, 3000)))
            if self._chance(0.2):
                fields.append(("Idempotency-Key", "k-1"))
        script = () if self._table.has_lukewarm or self._chance(0.35) else self._script()
        return Ask(
            self._authority(),
            method,
            self._target(match),
            tuple(fields),
            body,
            script,
            http2=self._chance(0.2),
            mirrored=self._act(),
        )

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _aim(self) -> Document:
        """A match that the request is made for."""
        matches = [match for rule in self._table.rules for match in rule.get("matches", ())]
        aim: Document = self._random.choice(matches) if matches and self._chance(0.8) else {}
        return aim

    def _authority(self) -> str:
        service = self._table.service
        host = self._random.choice(
            (
                service,
                service,
                f"{service}.default",
                f"{service}.default.svc",
                f"{service}.default.svc.cluster.local",
                *(
                    name
                    for route in self._table.routes
                    for name in route["spec"].get("hostnames", ())
                    if name[0] != "*"
                ),
            )
        )
        if self._chance(0.1):
            host = host.upper()
        return host + self._random.choice(("", "", "", ":80", ":8080"))

    def _value(self, item: dict[str, str]) -> str:
        if item.get("type") != "RegularExpression":
            return item["value"]
        return self._random.choice(HEADER_VALUES)

    def _noise(self) -> list[tuple[str, str]]:
        names = [name for name in (*HEADER_NAMES, "x-edit", "accept", "X-Color") if self._chance(0.12)]
        return [(name, self._random.choice((*HEADER_VALUES, ""))) for name in names if name not in ("x-request-id",)]

    def _target(self, match: Document) -> str:
        path = self._path(match.get("path", {}))
        pairs = [f"{item['name']}={self._query_value(item)}" for item in match.get("queryParams", ())]
        if self._chance(0.2):
            pairs.append(f"{self._random.choice(QUERY_NAMES)}={self._random.choice(('1', 'en', 'a%20b', 'a+b', ''))}")
        if self._chance(0.05):
            pairs.append(self._random.choice(("", "q", "=1", "%71=1", "a;b")))
        self._random.shuffle(pairs)
        return path + ("?" + "&".join(pairs) if pairs else "")

    def _query_value(self, item: dict[str, str]) -> str:
        if item.get("type") == "RegularExpression":
            return self._random.choice(("1", "en", ""))
        return item["value"].replace(" ", self._random.choice(("%20", "+")))

    def _path(self, match: Document) -> str:
        some = "".join(f"/{self._random.choice(SEGMENTS)}" for _ in range(self._random.randint(0, 2)))
        kind, value = match.get("type"), match.get("value", "/")
        if kind == "Exact":
            path = value
        elif kind == "RegularExpression":
            path = self._random.choice(("/a", "/a/7", "/ab", "/a.b", "/b/7", "/A/b", "/a/"))
        else:
            path = value + self._random.choice(("", "/", some, some + "/", "x", *ODD_ENDS))
        if self._chance(0.1):
            path = some + "/"
        return path or "/"

    def _script(self) -> tuple[Act, ...]:
        return tuple(self._act() for _ in range(self._random.randint(1, 5)))

    def _act(self) -> Act:
        random = self._random
        deed: Any = random.choices(
            ("answer", "reset", "close", "hang", "slow", "break", "trickle"), (60, 10, 10, 6, 4, 4, 1)
        )[0]
        if deed == "hang" and self._table.has_no_end:
            deed = "slow"
        if deed != "answer":
            return Act(deed)
        after = random.choice(("0", "1", "100")) if self._chance(0.05) else ""
        return Act("answer", random.choice((*RETRY_CODES, 500, 503, 503, 200, 201, 204)), after)
