"""Documents → Envoy's configuration, by somebody who has read Gateway API and Envoy's manual, and not our code.

What Gateway API leaves to implementations (where regular expressions stand) is as docs/policy.md has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.differential.policies.grpc_tables import KNOWN_TO_ENVOY
from tests.differential.policies.tables import Document, Table

Config = dict[str, Any]

DEFAULT_CODES = (502, 503, 504)
DEFAULT_RETRIES = 2
DEFAULT_MAX_AGE_S = 5
CORS = "envoy.filters.http.cors"
CONDITIONS = {"ConnectFailure": "connect-failure", "RefusedStream": "refused-stream", "Reset": "reset"}

_TYPE = "type.googleapis.com/envoy.extensions"
_GRPC_CONDITIONS = {name: condition for name, (_, condition) in KNOWN_TO_ENVOY.items()}
DEFAULT_STATUSES = ("UNAVAILABLE",)
_PATH_RANKS = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_CORS_LISTS = {
    "allowMethods": "allow_methods",
    "allowHeaders": "allow_headers",
    "exposeHeaders": "expose_headers",
}
_WELL_KNOWN_PORTS = {"http": 80, "https": 443}
_PORT_PATTERNS = {None: "(:[0-9]+)?", 80: "(:80)?", 8080: ":8080"}
_EVERYTHING = {"type": "PathPrefix", "value": "/"}


def virtual_host(table: Table) -> Config:
    """All routes of a service, in Gateway API's order of precedence."""
    names = {host for route in table.routes for host in route["spec"].get("hostnames", ()) if host[0] != "*"}
    own = (table.service, *(f"{table.service}.default{rest}" for rest in ("", ".svc", ".svc.cluster.local")))
    return {
        "name": table.service,
        "domains": sorted(names.union(own)),
        "include_attempt_count_in_response": True,
        "routes": [config for _, config in sorted(_routes(table), key=lambda ranked: ranked[0])],
    }


def _routes(table: Table) -> Iterator[tuple[tuple[Any, ...], Config]]:
    for document in table.routes:
        spec = document["spec"]
        port = spec["parentRefs"][0].get("port")
        for host in spec.get("hostnames", ("",)):
            for index, rule in enumerate(spec["rules"]):
                for number, match in enumerate(rule.get("matches", ({},))):
                    rank = (
                        *_host_rank(host),
                        *_match_rank(match, table.grpc),
                        *_age(document),
                        index,
                        number,
                    )
                    route = _route(host, port, match, rule, table.policy["spec"])
                    if table.grpc:
                        route["match"] = _grpc_match(match)
                    yield rank, route


def _host_rank(host: str) -> tuple[int, int]:
    return (2, 0) if not host else (int(host.startswith("*.")), -len(host))


def _age(document: Document) -> tuple[str, str]:
    """The older first; one without an age is young."""
    metadata = document["metadata"]
    return metadata.get("creationTimestamp", "~"), metadata["name"]


def _match_rank(match: Document, grpc: bool) -> tuple[int, ...]:
    if grpc:
        names = match.get("method", {})
        return -len(names.get("service", "")), -len(names.get("method", "")), -len(match.get("headers", ()))
    path = match.get("path", _EVERYTHING)
    method = 0 if "method" in match else 1
    fields = -len(match.get("headers", ())), -len(match.get("queryParams", ()))
    return _PATH_RANKS[path["type"]], -len(path["value"]), method, *fields


def _route(host: str, port: int | None, match: Document, rule: Document, policy: Document) -> Config:
    config: Config = {"match": _match(host, port, match)}
    for item in rule["filters"]:
        if item["type"] == "CORS":
            config["typed_per_filter_config"] = {CORS: _cors(item["cors"])}
    backends = rule.get("backendRefs", ())
    if backends and not sum(ref.get("weight", 1) for ref in backends):
        return {**config, "direct_response": {"status": 500}}
    for item in rule["filters"]:
        if item["type"] == "RequestHeaderModifier":
            config.update(_edits("request", item["requestHeaderModifier"]))
        if item["type"] == "ResponseHeaderModifier":
            config.update(_edits("response", item["responseHeaderModifier"]))
    prefix = match.get("path", _EVERYTHING)["value"]
    redirect = next((item["requestRedirect"] for item in rule["filters"] if item["type"] == "RequestRedirect"), None)
    if redirect is not None:
        return {**config, "redirect": _redirect(redirect, prefix)}
    action: Config = {
        "weighted_clusters": {"clusters": [_backend(ref) for ref in backends]},
        "timeout": _duration(rule.get("timeouts", {}).get("request", policy["timeouts"]["request"])),
        "retry_policy": _retry(rule, policy["retry"]),
    }
    for item in rule["filters"]:
        if item["type"] == "URLRewrite":
            action.update(_rewrite(item["urlRewrite"], prefix))
        if item["type"] == "RequestMirror":
            action["request_mirror_policies"] = [_mirror(item["requestMirror"])]
    return {**config, "route": action}


def _cors(cors: Document) -> Config:
    config: Config = {
        "@type": f"{_TYPE}.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [_origin(origin) for origin in cors["allowOrigins"]],
        "allow_credentials": cors.get("allowCredentials", False),
        "max_age": str(cors.get("maxAge", DEFAULT_MAX_AGE_S)),
        # Gateway API: one of an origin that may not ask is answered without a word of CORS.
        "forward_not_matching_preflights": False,
    }
    for ours, theirs in _CORS_LISTS.items():
        if ours in cors:
            config[theirs] = ", ".join(cors[ours])
    return config


def _origin(origin: str) -> Config:
    if "*" not in origin:
        return {"exact": origin}
    if origin == "*":
        return {"safe_regex": {"regex": ".*"}}
    pattern = re.escape(origin).replace(r":\*", "(:[0-9]+)?").replace(r"//\*", "//[^:]+")
    return {"safe_regex": {"regex": pattern}}


def _match(host: str, port: int | None, match: Document) -> Config:
    path = match.get("path", _EVERYTHING)
    value = path["value"]
    if path["type"] == "Exact":
        config: Config = {"path": value}
    elif path["type"] == "RegularExpression":
        config = {"safe_regex": {"regex": value}}
    elif value.rstrip("/"):
        config = {"path_separated_prefix": value.rstrip("/")}
    else:
        config = {"prefix": "/"}
    headers = [{"name": item["name"], "string_match": _text(item)} for item in match.get("headers", ())]
    if "method" in match:
        headers.append({"name": ":method", "string_match": {"exact": match["method"]}})
    if host or port is not None:
        pattern = f"(?i){_host_pattern(host)}{_PORT_PATTERNS[port]}"
        headers.append({"name": ":authority", "string_match": {"safe_regex": {"regex": pattern}}})
    query = [{"name": item["name"], "string_match": _text(item)} for item in match.get("queryParams", ())]
    return {**config, "headers": headers, "query_parameters": query}


def _grpc_match(match: Document) -> Config:
    names = match.get("method", {})
    service, method = names.get("service"), names.get("method")
    config: Config = {"prefix": "/"}
    if names and ("type" in names or not service):
        config = {"safe_regex": {"regex": f"/(?:{service or '[^/]+'})/(?:{method or '[^/]+'})"}}
    elif names:
        config = {"path": f"/{service}/{method}"} if method else {"prefix": f"/{service}/"}
    headers = [{"name": item["name"], "string_match": _text(item)} for item in match.get("headers", ())]
    return {**config, "headers": headers, "grpc": {}}


def _host_pattern(host: str) -> str:
    return re.escape(host).replace(r"\*", ".*") if host else "[^:]*"


def _text(item: Document) -> Config:
    if item.get("type") == "RegularExpression":
        return {"safe_regex": {"regex": item["value"]}}
    return {"exact": item["value"]}


def _edits(way: str, modifier: Document) -> Config:
    added = [
        {"header": {"key": item["name"], "value": item["value"]}, "append_action": action}
        for field, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD"))
        for item in modifier.get(field, ())
    ]
    return {f"{way}_headers_to_add": added, f"{way}_headers_to_remove": modifier.get("remove", [])}


def _redirect(redirect: Document, prefix: str) -> Config:
    config: Config = {"response_code": _REDIRECT_CODES[redirect.get("statusCode", 302)]}
    port = redirect.get("port")
    if "scheme" in redirect:
        config["scheme_redirect"] = redirect["scheme"]
        port = port or _WELL_KNOWN_PORTS[redirect["scheme"]]
    if port is not None:
        config["port_redirect"] = port
    if "hostname" in redirect:
        config["host_redirect"] = redirect["hostname"]
    if "path" in redirect:
        config["regex_rewrite"] = _path_rewrite(redirect["path"], prefix)
    return config


def _rewrite(rewrite: Document, prefix: str) -> Config:
    config: Config = {}
    if "hostname" in rewrite:
        config["host_rewrite_literal"] = rewrite["hostname"]
    if "path" in rewrite:
        config["regex_rewrite"] = _path_rewrite(rewrite["path"], prefix)
    return config


def _mirror(mirror: Document) -> Config:
    share = {"numerator": mirror.get("percent", 100), "denominator": "HUNDRED"}
    return {
        "cluster": mirror["backendRef"]["name"],
        "runtime_fraction": {"default_value": share},
        "disable_shadow_host_suffix_append": True,
    }


def _path_rewrite(path: Document, prefix: str) -> Config:
    """Not Envoy's prefix_rewrite: of `/a` by `/` it makes `//b` from `/a/b`."""
    if path["type"] == "ReplaceFullPath":
        return {"pattern": {"regex": "^.*$"}, "substitution": path["replaceFullPath"]}
    old, new = re.escape(prefix.rstrip("/")), path["replacePrefixMatch"]
    if new.endswith("/"):
        return {"pattern": {"regex": f"^{old}/?(.*)$"}, "substitution": rf"{new}\1"}
    return {"pattern": {"regex": f"^{old}(.*)$"}, "substitution": rf"{new}\1"}


def _backend(ref: Document) -> Config:
    config: Config = {"name": ref["name"], "weight": ref.get("weight", 1)}
    for item in ref.get("filters", ()):
        if item["type"] == "RequestHeaderModifier":
            config.update(_edits("request", item["requestHeaderModifier"]))
        elif item["type"] == "ResponseHeaderModifier":
            config.update(_edits("response", item["responseHeaderModifier"]))
        else:
            config["host_rewrite_literal"] = item["urlRewrite"]["hostname"]
    return config


def retries(rule: Document, policy: Document) -> int:
    """How many a rule allows."""
    own: int = rule.get("retry", {}).get("attempts", policy.get("attempts", DEFAULT_RETRIES))
    return own


def retry_codes(rule: Document, policy: Document) -> tuple[int, ...]:
    """The statuses that a rule finds worth one."""
    return tuple(rule.get("retry", {}).get("codes", policy.get("codes", DEFAULT_CODES)))


def _retry(rule: Document, policy: Document) -> Config:
    conditions = [CONDITIONS[condition] for condition in policy.get("conditions", CONDITIONS)]
    statuses = [_GRPC_CONDITIONS[name] for name in policy.get("grpcStatuses", DEFAULT_STATUSES)]
    config: Config = {
        "retry_on": ",".join((*conditions, "retriable-status-codes", *statuses)),
        "retriable_status_codes": list(retry_codes(rule, policy)),
        "num_retries": retries(rule, policy),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 30,
    }
    per_try = rule.get("timeouts", {}).get("backendRequest", policy.get("perTryTimeout"))
    if per_try is not None:
        config["per_try_timeout"] = _duration(per_try)
    return config


def _duration(text: str) -> str:
    """`100ms` as protobuf's JSON has it."""
    return text if not text.endswith("ms") else f"{int(text.removesuffix('ms')) / 1000}s"
