"""Ring hash and Maglev: a key stays with its endpoint, keys are spread as weights say, and when an endpoint is gone
its keys go elsewhere and hardly any others do. Where a key goes differs, for the hashes do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from tests.differential.policies.asks import Act, Ask
from tests.differential.policies.scenes.scene import (
    Cast,
    Notes,
    Scene,
    at_once,
    ejecting,
    get,
    outlier_detection,
    policy,
)
from tests.differential.policies.tables import Document
from tests.differential.policies.translate import Config

_KEYS = 60
_FAIR = (0.1, 3)
"""Of its share of the keys an endpoint may have so much less, or more."""
_STRAYS = 0.3
"""So many of the keys of others may move when an endpoint is gone: a ring or a table is made anew."""
_TTL = "60s"


def make_hashing_scene(random: Random, service: str) -> Scene:
    endpoints = random.randint(3, 5)
    weights = tuple(random.choice(((1,) * endpoints, (2, *(1,) * (endpoints - 1)))))
    balancer = random.choice(("RingHash", "Maglev"))
    source = random.choice(("Header", "Cookie", "QueryParam"))
    asks = [_ask(service, source, f"user-{random.getrandbits(32)}") for _ in range(_KEYS)]
    gone = random.randrange(endpoints)

    async def play(cast: Cast) -> Notes:
        first = [await cast.place_of(ask) for ask in asks]
        again = [await cast.place_of(ask) for ask in asks]
        notes = [f"{_moved(first, again)} keys moved", f"unfair to {_wronged(first, weights)}"]
        notes.append(
            f"without a key to {'many' if len({await cast.place_of(get(service)) for _ in asks}) > 1 else 'one'}"
        )
        cast.actors[gone].act = lambda _: Act(status=500)
        lost = [number for number, place in enumerate(first) if place == gone]
        await cast.ask(asks[lost[0]])
        later = [await cast.place_of(ask) for ask in asks]
        stayed = [number for number, place in enumerate(first) if place != gone]
        strays = _moved([first[number] for number in stayed], [later[number] for number in stayed])
        left = sum(later[number] == gone for number in lost)
        return [
            *notes,
            f"{left} left where nobody is",
            "few" if strays <= _STRAYS * len(stayed) else f"{strays} strayed",
        ]

    hash_on: Document = {"type": source, "name": "user"}
    return Scene(
        "hashing",
        service,
        f"{balancer} on {source}, weights {weights}, {gone} gone",
        (policy(service, balancer={"type": balancer, "hashOn": [hash_on]}, outlier=ejecting(1)),),
        play,
        action={"hash_policy": [_hash_policy(source)]},
        cluster=_cluster(balancer),
        endpoints=endpoints,
        weights=weights,
    )


def make_affinity_scene(random: Random, service: str) -> Scene:
    """Who has no cookie gets one, and stays by it."""
    balancer = random.choice(("RingHash", "Maglev"))

    async def play(cast: Cast) -> Notes:
        notes = []
        for _ in range(4):
            outcome = await cast.ask(get(service))
            place = cast.places[-1]
            cookie = (outcome.field(b"set-cookie") or b"").decode()
            told = get(service, ("cookie", cookie.partition(";")[0]))
            places = {await cast.place_of(told) for _ in range(6)}
            lasts = "max-age=60" in cookie.lower()
            silent = (await cast.ask(told)).field(b"set-cookie") is None
            notes.append(f"lasts {lasts}, stays {places == {place}}, told once {silent}")
        return notes

    hash_on = {"type": "Cookie", "name": "user", "ttl": _TTL}
    return Scene(
        "affinity",
        service,
        f"{balancer} on a cookie that is made",
        (policy(service, balancer={"type": balancer, "hashOn": [hash_on]}),),
        play,
        action={"hash_policy": [{"cookie": {"name": "user", "ttl": _TTL}}]},
        cluster=_cluster(balancer),
        endpoints=4,
    )


def _ask(service: str, source: str, key: str) -> Ask:
    if source == "Header":
        return get(service, ("user", key))
    return get(service, ("cookie", f"a=1; user={key}")) if source == "Cookie" else get(service, target=f"/?user={key}")


def _hash_policy(source: str) -> Config:
    if source == "Header":
        return {"header": {"header_name": "user"}}
    return {"cookie": {"name": "user"}} if source == "Cookie" else {"query_parameter": {"name": "user"}}


def _cluster(balancer: str) -> Config:
    return {
        "lb_policy": {"RingHash": "RING_HASH", "Maglev": "MAGLEV"}[balancer],
        "outlier_detection": outlier_detection(1),
        "common_lb_config": at_once(),
    }


def _moved(before: Sequence[int | None], after: Sequence[int | None]) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


def _wronged(places: Sequence[int | None], weights: Sequence[int]) -> list[int]:
    """Who got far too few or too many."""
    counts = Counter(places)
    shares = [_KEYS * weight / sum(weights) for weight in weights]
    return [number for number, share in enumerate(shares) if not _FAIR[0] * share <= counts[number] <= _FAIR[1] * share]
