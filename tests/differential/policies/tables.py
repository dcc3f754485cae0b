"""Route tables by chance, as documents. Words are few, so that rules collide and requests meet them."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

Document = dict[str, Any]

BACKENDS = ("b0", "b1", "b2", "b3")
"""Services of two endpoints each."""
GRPC_BACKENDS = ("g0", "g1")
"""The same, of gRPC."""
COLD = "cold"
"""A service whose endpoint refuses connections."""
SHADOW = "shadow"
"""A service that gets copies of requests; nothing that it does matters."""
LUKEWARM = "lukewarm"
"""A service of which one of two endpoints refuses connections."""

SEGMENTS = ("a", "b", "ab", "c", "a.b", "%61", "7")
PATH_REGEXES = ("/a/.*", "/(a|b)/[0-9]+", "/.*b", "/[ab]+", ".*", "/a(/.*)?", "/.*[.]b", "/a", "/A", "(?i)/A/.*")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
HEADER_NAMES = ("x-color", "x-size", "content-type", "x-request-id")
HEADER_VALUES = ("red", "blue", "7", "id-1", "text/plain", "red,blue", "red, blue")
HEADER_REGEXES = ("r.*", "(red|blue)", "[0-9]+", ".*blue", "id-[0-9]", ".*")
QUERY_NAMES = ("q", "lang", "q[]")
QUERY_VALUES = ("1", "en", "a b", "a+b", "x=y")
QUERY_REGEXES = ("[0-9]", "e.*", ".*")
EDITED_NAMES = ("x-edit", "x-color", "content-type", "x-request-id", "x-down", "Accept")
ORIGINS = ("https://shop.example", "https://www.shop.example", "http://shop.example", "https://shop.example:8443")
"""Of pages that ask."""
ALLOWED_ORIGINS = ("https://shop.example", "https://*.shop.example", "https://*", "https://shop.example:*")
CORS_HEADERS = ("x-color", "content-type", "*")
RETRY_CODES = (404, 409, 429, 500, 502, 503, 504)
CONDITIONS = ("ConnectFailure", "RefusedStream", "Reset")

AGES = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")

PER_TRY = "250ms"
SHORT = "400ms"
"""A request timeout that ends in the middle of a second try."""
LONG = "2000ms"
"""One that is longer than all tries together."""
UNLIMITED = "0s"

MARK = "x-rule"
"""Which rule took the request: set by each, both ways."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A service with its routes and its policy."""

    service: str
    routes: tuple[Document, ...]
    policy: Document
    grpc: bool = False
    """All requests to it are calls of gRPC."""

    @property
    def documents(self) -> tuple[Document, ...]:
        return (*self.routes, self.policy)

    @property
    def rules(self) -> list[Document]:
        return [rule for route in self.routes for rule in route["spec"]["rules"]]

    @property
    def has_lukewarm(self) -> bool:
        """Then it is chance how many attempts are needed."""
        return any(ref["name"] == LUKEWARM for rule in self.rules for ref in rule.get("backendRefs", ()))

    @property
    def has_cors(self) -> bool:
        """Pages of other origins may be let in."""
        return any(item["type"] == "CORS" for rule in self.rules for item in rule["filters"])

    @property
    def has_no_end(self) -> bool:
        """A request may take for ever."""
        return any(rule.get("timeouts", {}).get("request") == UNLIMITED for rule in self.rules)

    def rule(self, mark: str) -> Document | None:
        """The rule that leaves this mark."""
        return next((rule for rule in self.rules if rule["name"] == mark), None)


def copies_of(rule: Document) -> int:
    """How many copies of a request that it takes arrive."""
    mirrors = [item["requestMirror"] for item in rule["filters"] if "requestMirror" in item]
    return sum(mirror["backendRef"]["name"] == SHADOW and mirror.get("percent", 100) > 0 for mirror in mirrors)


def make_table(random: Random, service: str) -> Table:
    return TableMaker(random, service).make()


def policy_document(service: str, retry: Document, request: str = LONG) -> Document:
    """With what would make one request's fate depend on others' switched off."""
    budget = {"percent": 100, "minimum": 1000, "minimumPerSecond": 1000}
    retry = {"backoff": {"base": "1ms", "max": "2ms"}, "budget": budget, **retry}
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": service},
        "spec": {
            "targetRefs": [{"name": service}],
            "retry": retry,
            "timeouts": {"request": request},
            "outlier": {"consecutiveFailures": 0},
        },
    }


def route_document(
    name: str, service: str, rules: list[Document], hostnames: tuple[str, ...] = (), port: int | None = None
) -> Document:
    parent: Document = {"kind": "Service", "group": "", "name": service}
    if port is not None:
        parent["port"] = port
    spec: Document = {"parentRefs": [parent], "rules": rules}
    if hostnames:
        spec["hostnames"] = list(hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": spec,
    }


def marking(name: str, **fields: Any) -> Document:
    """A rule that leaves its mark on requests and answers, and has `fields` beside."""
    mark = [{"name": MARK, "value": name}]
    filters = fields.pop("filters", [])
    up: Document = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": mark}}
    down: Document = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": mark}}
    for own in (up, down):
        for other in [item for item in filters if item["type"] == own["type"]]:
            field = own["type"][0].lower() + own["type"][1:]
            edits = dict(other[field])
            edits["set"] = [*mark, *edits.get("set", ())]
            own[field] = edits
    kept = [item for item in filters if item["type"] not in (up["type"], down["type"])]
    return {"name": name, "filters": [up, down, *kept], **fields}


class TableMaker:
    def __init__(self, random: Random, service: str) -> None:
        self._random = random
        self._service = service
        self._rules = 0

    def make(self) -> Table:
        random = self._random
        routes = []
        for number in range(random.choice((1, 1, 1, 2, 3))):
            rules = [self._rule() for _ in range(random.randint(1, 4))]
            port = random.choice((80, 8080)) if self._chance(0.15) else None
            name = f"{self._service}-r{number}"
            route = route_document(name, self._service, rules, self._hostnames(), port)
            if self._chance(0.5):
                route["metadata"]["creationTimestamp"] = random.choice(AGES)
            routes.append(route)
        table = Table(self._service, tuple(routes), policy_document(self._service, self._retry(), self._timeout()))
        return _forgiving(table) if table.has_lukewarm else table

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _hostnames(self) -> tuple[str, ...]:
        if self._chance(0.75):
            return ()
        service = self._service
        names = (f"{service}.default", f"{service}.shop.example", "*.default", "*.default.svc.cluster.local")
        return tuple(self._random.sample(names, self._random.randint(1, 2)))

    def _timeout(self) -> str:
        return SHORT if self._chance(0.2) else LONG

    def _retry(self) -> Document:
        retry: Document = {}
        if self._chance(0.5):
            retry["attempts"] = self._random.randint(0, 4)
        if self._chance(0.4):
            retry["codes"] = self._codes()
        if self._chance(0.3):
            retry["conditions"] = self._random.sample(CONDITIONS, self._random.randint(0, 3))
        if self._chance(0.3):
            retry["perTryTimeout"] = PER_TRY
        if self._chance(0.2):
            retry["safeMethods"] = self._random.sample(("POST", "PATCH"), 1)
        return retry

    def _codes(self) -> list[int]:
        return sorted(self._random.sample(RETRY_CODES, self._random.randint(0, 4)))

    def _rule(self) -> Document:
        random = self._random
        name = f"rule-{self._rules}"
        self._rules += 1
        matches = [self._match() for _ in range(random.choice((0, 1, 1, 1, 2, 3)))]
        # What replaces a prefix needs one in every match.
        has_prefix = all(match.get("path", {}).get("type", "PathPrefix") == "PathPrefix" for match in matches)
        fields: Document = {"matches": matches} if matches else {}
        filters = self._edits()
        if self._chance(0.15):
            filters.append({"type": "CORS", "cors": self._cors()})
        if self._chance(0.12):
            filters.append({"type": "RequestRedirect", "requestRedirect": self._redirect(has_prefix)})
        else:
            if self._chance(0.35):
                filters.append({"type": "URLRewrite", "urlRewrite": self._rewrite(has_prefix)})
            if self._chance(0.15):
                filters.append({"type": "RequestMirror", "requestMirror": self._mirror()})
            fields["backendRefs"] = self._backends()
        if self._chance(0.4):
            fields["retry"] = self._route_retry()
        if self._chance(0.3):
            fields["timeouts"] = self._timeouts()
        return marking(name, filters=filters, **fields)

    def _route_retry(self) -> Document:
        retry: Document = {}
        if self._chance(0.8):
            retry["attempts"] = self._random.randint(0, 4)
        if self._chance(0.7):
            retry["codes"] = self._codes()
        if self._chance(0.3):
            retry["backoff"] = "1ms"
        return retry

    def _timeouts(self) -> Document:
        timeouts: Document = {}
        if self._chance(0.6):
            timeouts["request"] = self._random.choice((SHORT, SHORT, LONG, LONG, UNLIMITED))
        if self._chance(0.6):
            timeouts["backendRequest"] = self._random.choice((PER_TRY, PER_TRY, PER_TRY, UNLIMITED))
        return timeouts

    def _path(self) -> str:
        path = "".join(f"/{self._random.choice(SEGMENTS)}" for _ in range(self._random.randint(0, 3)))
        return path + "/" if not path or self._chance(0.15) else path

    def _match(self) -> Document:
        match: Document = {}
        kind = self._random.choice(("Exact", "PathPrefix", "PathPrefix", "RegularExpression", ""))
        if kind:
            value = self._random.choice(PATH_REGEXES) if kind == "RegularExpression" else self._path()
            match["path"] = {"type": kind, "value": value}
        if self._chance(0.3):
            match["headers"] = self._texts(HEADER_NAMES, HEADER_VALUES, HEADER_REGEXES)
        if self._chance(0.2):
            match["queryParams"] = self._texts(QUERY_NAMES, QUERY_VALUES, QUERY_REGEXES)
        if self._chance(0.25):
            match["method"] = self._random.choice(METHODS)
        return match

    def _texts(self, names: tuple[str, ...], values: tuple[str, ...], regexes: tuple[str, ...]) -> list[dict[str, str]]:
        found = []
        for name in self._random.sample(names, self._random.randint(1, 2)):
            shown = name.title() if self._chance(0.2) and names is HEADER_NAMES else name
            if self._chance(0.3):
                found.append({"type": "RegularExpression", "name": shown, "value": self._random.choice(regexes)})
            else:
                found.append({"name": shown, "value": self._random.choice(values)})
        return found

    def _edits(self) -> list[Document]:
        kinds = [kind for kind in ("requestHeaderModifier", "responseHeaderModifier") if self._chance(0.3)]
        return [{"type": kind[0].upper() + kind[1:], kind: self._modifier()} for kind in kinds]

    def _modifier(self) -> Document:
        modifier: Document = {}
        for name in self._random.sample(EDITED_NAMES, self._random.randint(1, 3)):
            action = self._random.choice(("set", "add", "remove"))
            value: Any = name
            if action != "remove":
                value = {"name": name, "value": self._random.choice(("one", "two words", "id-9"))}
            modifier.setdefault(action, []).append(value)
        return modifier

    def _path_modifier(self, has_prefix: bool) -> Document:
        value = self._random.choice(("/", "/new", "/new/", "/n/w"))
        if has_prefix and self._chance(0.6):
            return {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}
        return {"type": "ReplaceFullPath", "replaceFullPath": value}

    def _rewrite(self, has_prefix: bool) -> Document:
        rewrite: Document = {}
        if self._chance(0.4):
            rewrite["hostname"] = "inside.example"
        if not rewrite or self._chance(0.6):
            rewrite["path"] = self._path_modifier(has_prefix)
        return rewrite

    def _cors(self) -> Document:
        random = self._random
        origins = ["*"] if self._chance(0.2) else random.sample(ALLOWED_ORIGINS, random.randint(1, 2))
        cors: Document = {"allowOrigins": origins}
        if self._chance(0.4):
            cors["allowCredentials"] = self._chance(0.8)
        if self._chance(0.7):
            cors["allowMethods"] = ["*"] if self._chance(0.2) else random.sample(METHODS, random.randint(1, 3))
        for field in ("allowHeaders", "exposeHeaders"):
            if self._chance(0.6):
                cors[field] = random.sample(CORS_HEADERS, 1)
        if self._chance(0.5):
            cors["maxAge"] = 600
        return cors

    def _mirror(self) -> Document:
        mirror: Document = {"backendRef": {"name": COLD if self._chance(0.2) else SHADOW}}
        if self._chance(0.5):
            mirror["percent"] = self._random.choice((0, 100))
        return mirror

    def _redirect(self, has_prefix: bool) -> Document:
        redirect: Document = {}
        if self._chance(0.4):
            redirect["scheme"] = self._random.choice(("http", "https"))
        if self._chance(0.4):
            redirect["hostname"] = "other.example"
        if self._chance(0.3):
            redirect["port"] = self._random.choice((80, 443, 8443))
        if self._chance(0.5):
            redirect["path"] = self._path_modifier(has_prefix)
        if self._chance(0.7):
            redirect["statusCode"] = self._random.choice((301, 302, 303, 307, 308))
        return redirect

    def _backends(self) -> list[Document]:
        random = self._random
        if self._chance(0.06):
            return [{"name": COLD}]
        if self._chance(0.04):
            return [{"name": LUKEWARM}]
        count = random.choice((1, 1, 1, 2, 3))
        refs: list[Document] = [{"name": name} for name in random.sample(BACKENDS, count)]
        weights = random.choice(
            ((1, 1, 1), (3, 1, 0), (0, 1, 0), (1, 0, 9), (0, 0, 0) if self._chance(0.2) else (1, 2, 3))
        )
        for ref, weight in zip(refs, weights, strict=False):
            if count > 1 or self._chance(0.1):
                ref["weight"] = weight
            if self._chance(0.15):
                ref["filters"] = self._edits()
                if self._chance(0.3):
                    ref["filters"].append({"type": "URLRewrite", "urlRewrite": {"hostname": "backend.example"}})
        return refs


def _forgiving(table: Table) -> Table:
    """The same with retries that are enough for one endpoint that refuses."""
    retry = {name: value for name, value in table.policy["spec"]["retry"].items() if name != "conditions"}
    policy = policy_document(table.service, {**retry, "attempts": max(1, retry.get("attempts", 2))})
    for route in table.routes:
        for rule in route["spec"]["rules"]:
            if rule.get("retry", {}).get("attempts") == 0:
                rule["retry"]["attempts"] = 1
    return Table(table.service, table.routes, policy)
