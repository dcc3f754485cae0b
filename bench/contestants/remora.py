"""Remora's sidecar. At the caller (first hop) its outbound port is used, in front of the backend its inbound port."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import remora
from bench.backends import ROUTES, Address, Family, route_prefix
from bench.contestants import base
from bench.contestants.base import Job, Running
from bench.processes import HOST, Process

SERVICE = "bench"
RULES_A_ROUTE = 10
"""Gateway API allows 16 rules in an HTTPRoute; a table of 100 takes several documents."""
_ANY_PORT = f"{HOST}:0"


class Remora:
    name = "Remora"
    families: tuple[Family, ...] = ("http1", "h2")

    def missing(self) -> str:
        return "" if importlib.util.find_spec("remora.sidecar.cli") else "remora.sidecar.cli is not there"

    def version(self) -> str:
        return remora.__version__

    def start(self, job: Job) -> Running:
        config = job.folder / f"remora.{job.family}.{job.hop}.yaml"
        # YAML is a superset of JSON.
        config.write_text("\n---\n".join(json.dumps(document) for document in documents(job)))
        process = Process("remora", _command(job, str(config)), job.core, job.folder)
        line = f"listening outbound:{SERVICE} " if job.hop == "first" else "listening inbound "
        try:
            address = process.wait_for_line(line)
        except BaseException:
            process.stop()
            raise
        return Running(Address(int(address.rpartition(":")[2])), process)


def documents(job: Job) -> list[dict[str, Any]]:
    """The table of routes and the endpoint, as people write them."""
    return [_endpoints(job.upstream), *(_route(job, first) for first in range(0, ROUTES, RULES_A_ROUTE))]


def _command(job: Job, config: str) -> list[str]:
    flags = {
        "--upstream": str(job.upstream),
        "--service": SERVICE if job.hop == "second" else "caller",
        "--config": config,
        "--inbound": _ANY_PORT,
        "--outbound-listen": _ANY_PORT,
        "--outbound": f"{SERVICE}={_ANY_PORT}",
        "--admin": _ANY_PORT,
        "--metrics": _ANY_PORT,
        "--state-dir": str(job.folder / f"remora.{job.family}.{job.hop}.state"),
    }
    return [sys.executable, "-m", "remora.sidecar.cli", "run", *(word for flag in flags.items() for word in flag)]


def _endpoints(upstream: Address) -> dict[str, Any]:
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "ServiceEndpoints",
        "metadata": {"name": SERVICE},
        "spec": {"service": SERVICE, "endpoints": [{"address": upstream.host, "port": upstream.port}]},
    }


def _route(job: Job, first: int) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"{SERVICE}-{first}"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": SERVICE}],
            "rules": [_rule(route_prefix(job.family, index)) for index in range(first, first + RULES_A_ROUTE)],
        },
    }


def _rule(prefix: str) -> dict[str, Any]:
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": [{"name": SERVICE, "port": 80}],
        "timeouts": {"request": f"{base.REQUEST_TIMEOUT_S}s"},
        "retry": {"attempts": base.RETRIES, "codes": list(base.RETRY_CODES)},
    }
