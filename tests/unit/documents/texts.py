"""A document that tests spoil, and what is said of it then."""

from __future__ import annotations

from remora.documents.parse import parse_text

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop, labels: {a: b}, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  hostnames: ["*.example.com", example.com]
  rules:
  - name: all.of-them
    matches:
    - {path: {type: Exact, value: /a}, method: GET, headers: [{name: X-A, value: b}]}
    backendRefs: [{name: a, weight: 1, port: 80}, {name: b, namespace: other, weight: 0}]
    timeouts: {request: 1m30s}
    retry: {attempts: 1, codes: [500]}
"""


def faults(text: str) -> dict[str, str]:
    """Message by path."""
    parsed = parse_text(text, "file.yaml")
    assert parsed.errors
    assert all(str(error).startswith("file.yaml: ") for error in parsed.errors)
    return {error.path: error.message for error in parsed.errors}
