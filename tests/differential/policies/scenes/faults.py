"""Faults that are made on purpose: who is refused, with which status, and who is held up."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from tests.differential.policies.asks import Ask
from tests.differential.policies.scenes.scene import OURS, Cast, Notes, Scene, call, get, policy, told
from tests.differential.policies.tables import Document
from tests.differential.policies.translate import Config

FILTER = "envoy.filters.http.fault"
_STATUSES = (400, 401, 403, 404, 429, 500, 502, 503, 504, 555)
_GRPC_STATUSES = {"NOT_FOUND": 5, "RESOURCE_EXHAUSTED": 8, "UNAVAILABLE": 14, "UNAUTHENTICATED": 16}
_DELAY = "500ms"
_DELAY_S = 0.5
_LATE_S = 0.4


def make_fault_scene(random: Random, service: str) -> Scene:
    grpc = random.random() < 0.4
    fault = _fault(random, grpc)
    asks = [_ask(random, service, grpc) for _ in range(6)]

    async def play(cast: Cast) -> Notes:
        return [await _look(cast, ask) for ask in asks]

    document = {
        "apiVersion": OURS,
        "kind": "FaultPolicy",
        "metadata": {"name": service},
        "spec": {"targetRefs": [{"name": service}], "faults": [fault]},
    }
    shown = [f"{ask.method} {ask.target} {dict(ask.fields)}" for ask in asks]
    return Scene(
        "faults",
        service,
        f"{fault}, asked {shown}",
        (policy(service), document),
        play,
        route={"typed_per_filter_config": {FILTER: _filter(fault)}},
        protocol="grpc" if grpc else "http1",
    )


async def _look(cast: Cast, ask: Ask) -> str:
    began = time.monotonic()
    outcome = await cast.ask(ask)
    late = "late" if time.monotonic() - began > _LATE_S else "at once"
    return f"{told(outcome)} {late}, {cast.arrived} arrived"


def _fault(random: Random, grpc: bool) -> Document:
    fault: Document = {}
    does = random.choice(("delay", "abort", "abort", "both"))
    if does != "abort":
        fault["delay"] = _DELAY
    if does != "delay":
        fault["abort"] = {"status": random.choice(_STATUSES)}
        if grpc and random.random() < 0.6:
            fault["abort"] = {"grpcStatus": random.choice(list(_GRPC_STATUSES))}
    if random.random() < 0.6:
        fault["percent"] = random.choice((0, 0, 100))
    match: Any = random.choice((None, {"headers": [{"name": "x-kind", "value": "dear"}]}, {"method": "POST"}))
    if match is not None:
        fault["matches"] = [match]
    return fault


def _ask(random: Random, service: str, grpc: bool) -> Ask:
    fields = [("x-kind", random.choice(("dear", "cheap")))] * (random.random() < 0.7)
    return call(service, *fields) if grpc else get(service, *fields, method=random.choice(("GET", "POST")))


def _filter(fault: Document) -> Config:
    share = {"numerator": fault.get("percent", 100), "denominator": "HUNDRED"}
    config: Config = {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}
    if "delay" in fault:
        config["delay"] = {"fixed_delay": f"{_DELAY_S}s", "percentage": share}
    if "abort" in fault:
        abort = fault["abort"]
        status = (
            {"grpc_status": _GRPC_STATUSES[abort["grpcStatus"]]}
            if "grpcStatus" in abort
            else {"http_status": abort["status"]}
        )
        config["abort"] = {**status, "percentage": share}
    for match in fault.get("matches", ()):
        header = match["headers"][0] if "headers" in match else {"name": ":method", "value": match["method"]}
        config["headers"] = [{"name": header["name"], "string_match": {"exact": header["value"]}}]
    return config
