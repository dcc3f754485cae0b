"""Routes: which requests, what is done to them, and where they go. Times are in seconds, shares in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from remora.model.base import Origin, Struct
from remora.model.names import ServiceName

PathMatchKind = Literal["exact", "prefix", "regex"]
TextMatchKind = Literal["exact", "regex"]
PathRewriteKind = Literal["full", "prefix"]
SessionKind = Literal["cookie", "header"]


class PathMatch(Struct, frozen=True):
    """`prefix` matches whole segments (Gateway API PathPrefix): `/a` matches `/a` and `/a/b`, not `/ab`. `regex` is of
    RE2 and matches the whole path."""

    kind: PathMatchKind
    value: str


class FieldMatch(Struct, frozen=True):
    """A header or query parameter that must have exactly this value, or match a regex of RE2 as a whole; header names
    are lower case."""

    name: str
    value: str
    kind: TextMatchKind = "exact"


class RouteMatch(Struct, frozen=True):
    """All parts must hold; an empty match holds for every request.

    gRPC service and method matches are compiled into `path` (`/package.Service/Method`) with `method` POST.
    """

    path: PathMatch | None = None
    method: str = ""
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()
    port: int | None = None
    """Of the authority; one without has 80."""


class FieldEdits(Struct, frozen=True):
    """What is done to header fields: first some are set, then added, then removed. Names may have upper case."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class PathRewrite(Struct, frozen=True):
    """`prefix`: what the match's prefix is replaced by; the query stays."""

    kind: PathRewriteKind
    value: str


class Rewrite(Struct, frozen=True):
    """What the request is to the backend."""

    hostname: str = ""
    path: PathRewrite | None = None


class Redirect(Struct, frozen=True):
    """The answer sends the client elsewhere. What is left out is as in the request."""

    scheme: str = ""
    hostname: str = ""
    port: int | None = None
    path: PathRewrite | None = None
    status: int = 302


class Mirror(Struct, frozen=True):
    """A share of the requests goes to another service too; its answer is nobody's."""

    service: ServiceName
    share: float = 1.0


class Cors(Struct, frozen=True):
    """Which pages of other origins may ask (Fetch standard; Gateway API's CORS filter). `*` is any."""

    origins: tuple[str, ...] = ()
    """`https://*.shop.example` has any labels for `*`."""
    credentials: bool = False
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int = 5


class Filters(Struct, frozen=True):
    """What is done to requests and answers on the way."""

    request: FieldEdits | None = None
    response: FieldEdits | None = None
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None


class Backend(Struct, frozen=True):
    """Where a share `weight / sum of weights` of a route's requests goes."""

    service: ServiceName
    weight: int = 1
    filters: Filters | None = None
    """After those of the route."""


class SessionPersistence(Struct, frozen=True):
    """Requests of a session go to the endpoint that answered its first one."""

    name: str
    """Of the cookie or header."""
    kind: SessionKind = "cookie"
    absolute_s: float = 0.0
    """A session ends after this; 0: never."""
    idle_s: float = 0.0
    """A session ends when it is not used for so long; 0: never."""
    permanent: bool = False
    """The cookie outlives the browser, for `absolute_s`."""


class Route(Struct, frozen=True):
    """One match of one rule of a document. Routes of a service stand in order of precedence: the first match wins."""

    name: str
    """Stable and human readable, used in metrics and logs: `shop/rule-0`, or the rule's own name."""
    origin: Origin
    match: RouteMatch
    backends: tuple[Backend, ...]
    hostnames: tuple[str, ...] = ()
    """Narrows the route to these hosts (`*.` allowed in front); empty: all of the service's names."""
    grpc_only: bool = False
    """From a GRPCRoute: holds only for requests with content-type application/grpc*."""
    consumers: str = ""
    """The namespace whose callers it is for; empty: all. A namespace that has routes of its own to a service uses
    these alone (GAMMA consumer routes)."""
    filters: Filters | None = None
    session: SessionPersistence | None = None
    request_timeout_s: float | None = None
    """None: the service's. 0: no limit."""
    per_try_timeout_s: float | None = None
    """Of one attempt; None: the service's. 0: no limit of its own."""
    retry_attempts: int | None = None
    """How many retries (not tries) this route allows; None: the service's policy."""
    retry_codes: tuple[int, ...] | None = None
    """HTTP statuses worth a retry; None: the service's policy."""
    retry_backoff_s: float | None = None
    """The least wait before a retry; None: the service's policy."""

    def services(self) -> Iterator[ServiceName]:
        """Where its requests go, be it copies of them."""
        for backend in self.backends:
            yield backend.service
        for filters in (self.filters, *(backend.filters for backend in self.backends)):
            if filters is not None:
                yield from (mirror.service for mirror in filters.mirrors)
