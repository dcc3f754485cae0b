"""Answers that the mesh gives itself: RFC 9457 `application/problem+json`, with a stable code beside the sentence."""

from __future__ import annotations

import http
import json

from remora.sidecar.wire.heads import ResponseHead

ERROR_FIELD = b"x-mesh-error"
"""Carries the code of a failure that the mesh answered."""


def problem(status: int, code: str, detail: str, request_id: str = "") -> tuple[ResponseHead, bytes]:
    """Head and body of a problem answer. `detail` is one sentence that says what to look at."""
    document = {"type": "about:blank", "title": phrase(status), "status": status, "code": code, "detail": detail}
    if request_id:
        document["request_id"] = request_id
    body = json.dumps(document).encode()
    fields = [(b"content-type", b"application/problem+json"), (ERROR_FIELD, code.encode())]
    return ResponseHead(status, fields, content_length=len(body)), body


def phrase(status: int) -> str:
    """The reason phrase of a status; empty for one that IANA has not registered."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
