"""What any traced application does: hand the trace of the request that came in to the requests that go out."""

from __future__ import annotations

from collections.abc import Mapping

TRACE_HEADERS = ("traceparent", "tracestate", "x-request-id")
"""W3C Trace Context, and the request id that people search logs for."""


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` to pass on."""
    return {name: headers[name] for name in TRACE_HEADERS if name in headers}
