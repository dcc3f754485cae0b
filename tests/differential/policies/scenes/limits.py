"""Local rate limits, at the caller: of all requests, of some, of each customer; who is over them, and who is not.

No token comes back while a scene lasts.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.differential.policies.asks import Ask
from tests.differential.policies.scenes.scene import OURS, Cast, Meant, Notes, Scene, call, get, policy, told
from tests.differential.policies.tables import Document
from tests.differential.policies.translate import Config

DIFFERENCE = "Who is over one limit uses up no other"
FILTER = "envoy.filters.http.local_ratelimit"
_PER = "1h"
_PER_S = "3600s"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def make_limit_scene(random: Random, service: str) -> Scene:
    grpc = random.random() < 0.3
    limits = [_limit(random, number, grpc) for number in range(random.choice((1, 1, 2)))]
    return limit_scene(service, limits, [_ask(random, service, grpc) for _ in range(20)])


def limit_scene(service: str, limits: list[Document], asks: list[Ask]) -> Scene:
    async def play(cast: Cast) -> Notes:
        return [_note(told(await cast.ask(ask)), cast.arrived) for ask in asks]

    document = {
        "apiVersion": OURS,
        "kind": "RateLimitPolicy",
        "metadata": {"name": service},
        "spec": {"targetRefs": [{"name": service}], "enforcedBy": "Callers", "limits": limits},
    }
    shown = [f"{ask.method} {ask.target} {dict(ask.fields)}" for ask in asks]
    return Scene(
        "limits",
        service,
        f"{limits}, asked {shown}",
        (policy(service), document),
        play,
        route={"typed_per_filter_config": {FILTER: _filter(limits)}},
        protocol="grpc" if asks[0].grpc else "http1",
        meant=Meant(DIFFERENCE, _ours(limits, asks)) if len(limits) > 1 else None,
    )


def _note(status: str, arrived: int) -> str:
    return f"{status}, {arrived} arrived"


def _ours(limits: list[Document], asks: list[Ask]) -> Notes:
    """What becomes of requests by what the manual says: a token of each limit that counts it, or of none."""
    taken: Counter[tuple[str, str]] = Counter()
    notes, arrived = [], 0
    for ask in asks:
        counted = [(limit, key) for limit in limits if (key := _key(limit, ask)) is not None]
        has_room = all(taken[limit["name"], key] < limit["requests"] for limit, key in counted)
        if has_room:
            taken.update((limit["name"], key) for limit, key in counted)
            arrived += 1
        status = ("200/0" if has_room else "200/8") if ask.grpc else ("200" if has_room else "429")
        notes.append(_note(status, arrived))
    return notes


def _key(limit: Document, ask: Ask) -> str | None:
    """Of its bucket; None: the limit does not count it."""
    if "keys" in limit:
        return next(iter(ask.values(limit["keys"][0]["name"])), None)
    match = limit.get("matches", ({},))[0]
    fits = all(item["value"] in ask.values(item["name"]) for item in match.get("headers", ()))
    return "" if fits and match.get("path", {}).get("value", ask.target) == ask.target else None


def _limit(random: Random, number: int, grpc: bool) -> Document:
    limit: Document = {"name": f"l{number}", "requests": random.randint(1, 6), "per": _PER}
    kind = random.choice(("all", "header", "customer", "all" if grpc else "path"))
    if kind == "header":
        limit["matches"] = [{"headers": [{"name": "x-kind", "value": "dear"}]}]
    elif kind == "path":
        limit["matches"] = [{"path": {"type": "Exact", "value": "/a"}}]
    elif kind == "customer":
        limit["keys"] = [{"type": "Header", "name": "x-customer"}]
    return limit


def _ask(random: Random, service: str, grpc: bool) -> Ask:
    fields = [("x-kind", random.choice(("dear", "cheap")))] * (random.random() < 0.7)
    fields += [("x-customer", random.choice("123"))] * (random.random() < 0.8)
    return call(service, *fields) if grpc else get(service, *fields, target=random.choice(("/a", "/b")))


def _filter(limits: list[Document]) -> Config:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limits",
        # What no descriptor is for.
        "token_bucket": _bucket(1000000),
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
        "rate_limits": [{"actions": [_action(limit)]} for limit in limits],
        "descriptors": [{"entries": [_entry(limit)], "token_bucket": _bucket(limit["requests"])} for limit in limits],
        "rate_limited_as_resource_exhausted": True,
    }


def _bucket(tokens: int) -> Config:
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": _PER_S}


def _action(limit: Document) -> Config:
    name = limit["name"]
    if "keys" in limit:
        return {"request_headers": {"header_name": limit["keys"][0]["name"], "descriptor_key": name}}
    if "matches" not in limit:
        return {"generic_key": {"descriptor_key": name, "descriptor_value": "all"}}
    match = limit["matches"][0]
    text = match["path"] if "path" in match else match["headers"][0]
    header = {"name": text.get("name", ":path"), "string_match": {"exact": text["value"]}}
    return {"header_value_match": {"descriptor_key": name, "descriptor_value": "all", "headers": [header]}}


def _entry(limit: Document) -> Config:
    """Without a value it stands for any."""
    return {"key": limit["name"]} if "keys" in limit else {"key": limit["name"], "value": "all"}
