"""The filters of a route or a backend, compiled."""

from __future__ import annotations

from remora.model.routes import Filters, Mirror, Redirect, Rewrite
from remora.sidecar.routing.cors import CorsRule, is_preflight
from remora.sidecar.routing.edits import CompiledEdits, location, rewrite_request
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value


class CompiledFilters:
    """What is done to requests on their way up and to answers on their way down."""

    __slots__ = ("_prefix", "_request", "_response", "_rewrite", "cors", "mirrors", "redirect")

    def __init__(self, filters: Filters, prefix: str) -> None:
        """`prefix`: what the route's match has matched, if it was a prefix."""
        self._prefix = prefix
        self._request = CompiledEdits(filters.request) if filters.request else None
        self._response = CompiledEdits(filters.response) if filters.response else None
        self._rewrite: Rewrite | None = filters.rewrite
        self.redirect: Redirect | None = filters.redirect
        self.mirrors: tuple[Mirror, ...] = filters.mirrors
        self.cors = CorsRule(filters.cors) if filters.cors else None

    def answer(self, head: RequestHead) -> tuple[int, Fields] | None:
        """Status and fields of what is answered at once to `head`: a redirect, or a preflight. One of an origin that
        may not ask is told nothing (Gateway API HTTPCORSFilter)."""
        origin = self.origin(head)
        if self.cors is not None and is_preflight(head):
            return 204, self.cors.preflight_fields(head, origin) if origin else []
        if self.redirect is None:
            return None
        fields = [(b"location", location(head, self.redirect, self._prefix))]
        return self.redirect.status, self._edited(fields, origin)

    def origin(self, head: RequestHead) -> bytes:
        """The other origin that asks and may; empty: there is none."""
        if self.cors is None:
            return b""
        origin = field_value(head.fields, b"origin")
        return origin if origin is not None and self.cors.allows(origin) else b""

    def edit_request(self, head: RequestHead) -> None:
        if self._request is not None:
            self._request.edit_request(head)
        if self._rewrite is not None:
            rewrite_request(head, self._rewrite, self._prefix)

    def edit_response(self, head: ResponseHead, origin: bytes) -> None:
        """Edit an answer to `origin`, as it came with the request."""
        head.fields = self._edited(head.fields, origin)

    def _edited(self, fields: Fields, origin: bytes) -> Fields:
        """The fields of an answer as they are to be."""
        if self.cors is not None and origin:
            fields = self.cors.edit(fields, origin)
        return fields if self._response is None else self._response.edit(fields)
