"""Control's REST: documents, status, metrics and probes, on port 15014.

    GET    /api/v1/documents[?kind=&namespace=]             all documents
    GET    /api/v1/documents/{kind}/{namespace}/{name}      one
    DELETE /api/v1/documents/{kind}/{namespace}/{name}
    POST   /api/v1/apply[?dry-run=true]                     YAML or JSON: all documents of the body or none
    GET    /api/v1/status                                   documents, services, sidecars
    GET    /metrics, /healthz/live, /healthz/ready

Errors are problem documents (RFC 9457).
"""

from remora.control.api.app import build_app
from remora.control.api.documents import Documents
from remora.control.api.view import Readiness, Sidecars

__all__ = ["Documents", "Readiness", "Sidecars", "build_app"]
