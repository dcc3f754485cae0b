"""A request's session: where it goes because earlier ones went there, and what its client is told."""

from __future__ import annotations

import time

from remora.sidecar.routing.session import Session, SessionRule
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import ResponseHead


class Persistence:
    """Of a request on a route that keeps sessions."""

    __slots__ = ("_known", "_rule", "endpoint")

    def __init__(self, rule: SessionRule, known: Session | None, endpoint: UpstreamEndpoint | None) -> None:
        """`known`: the session that the client spoke of."""
        self._rule = rule
        self._known = known
        self.endpoint = endpoint
        """Where its first attempt goes; None: wherever any request would, as there is no session, or what it names is
        gone or not well."""

    def tell(self, service: str, endpoint: UpstreamEndpoint, head: ResponseHead) -> None:
        """Say in the answer that `endpoint` of `service` gives what the client has to know."""
        field = self._rule.told(self._known, service, endpoint.endpoint.id, time.time())
        if field is not None:
            head.fields = [*head.fields, field]
