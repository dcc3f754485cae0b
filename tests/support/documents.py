"""Configuration files for sidecars under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def endpoints(service: str, *addresses: str, **fields: Any) -> dict[str, Any]:
    """ServiceEndpoints of `service`; `fields` go into each endpoint."""
    items = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        items.append({"address": host, "port": int(port), **fields})
    return _document("mesh.remora.dev/v1alpha1", "ServiceEndpoints", service, {"service": service, "endpoints": items})


def http_route(service: str, *rules: dict[str, Any]) -> dict[str, Any]:
    """An HTTPRoute for callers of `service`."""
    return _document(
        "gateway.networking.k8s.io/v1", "HTTPRoute", service, {"parentRefs": [_parent(service)], "rules": [*rules]}
    )


def traffic_policy(service: str, **spec: Any) -> dict[str, Any]:
    """A TrafficPolicy for callers of `service`."""
    return _document("mesh.remora.dev/v1alpha1", "TrafficPolicy", service, {"targetRefs": [_parent(service)], **spec})


def fault_policy(service: str, *faults: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A FaultPolicy for callers of `service`."""
    spec = {"targetRefs": [_parent(service)], "faults": [*faults], **spec}
    return _document("mesh.remora.dev/v1alpha1", "FaultPolicy", service, spec)


def rate_limit_policy(service: str, *limits: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A RateLimitPolicy of `service`."""
    spec = {"targetRefs": [_parent(service)], "limits": [*limits], **spec}
    return _document("mesh.remora.dev/v1alpha1", "RateLimitPolicy", service, spec)


def write(path: Path, *documents: dict[str, Any]) -> Path:
    """A file of `documents`."""
    path.write_text(yaml.safe_dump_all(documents))
    return path


def _parent(service: str) -> dict[str, str]:
    return {"kind": "Service", "group": "", "name": service}


def _document(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
