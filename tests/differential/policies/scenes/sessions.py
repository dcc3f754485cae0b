"""Sessions by cookie or header: who shows a token comes to the same endpoint, as long as it is well; who does not, or
whose endpoint is gone, gets a new one. What a token says differs."""

from __future__ import annotations

from random import Random
from typing import Literal

from tests.differential.policies.asks import Act, Ask
from tests.differential.policies.play import Outcome
from tests.differential.policies.scenes.scene import (
    Cast,
    Notes,
    Scene,
    at_once,
    ejecting,
    get,
    outlier_detection,
    policy,
    told,
)
from tests.differential.policies.tables import Document, marking, route_document
from tests.differential.policies.translate import Config

FILTER = "envoy.filters.http.stateful_session"
_NAME = "x-session"
_TYPE = "type.googleapis.com/envoy.extensions"

Kind = Literal["new", "known", "rubbish", "failing", "gone"]
Step = tuple[Kind, int]
"""What is asked with, and the number of the session."""
_KINDS: tuple[Kind, ...] = ("known", "known", "known", "rubbish", "failing", "new")


def make_session_scene(random: Random, service: str) -> Scene:
    by_header = random.random() < 0.5
    sessions = random.randint(2, 4)
    steps: list[Step] = [("new", number) for number in range(sessions)]
    steps += [(random.choice(_KINDS), random.randrange(sessions)) for _ in range(8)]
    steps += [("gone", 0), ("known", 0), ("known", 0)]

    async def play(cast: Cast) -> Notes:
        player = _Player(cast, by_header)
        return [f"{kind} {number}: {await player.play(kind, number)}" for kind, number in steps]

    persistence = {"sessionName": _NAME, "type": "Header" if by_header else "Cookie"}
    rule: Document = marking("rule-0", backendRefs=[{"name": service}], sessionPersistence=persistence)
    retry = {"attempts": 1, "backoff": {"base": "1ms", "max": "2ms"}}
    return Scene(
        "sessions",
        service,
        f"by {persistence['type']}, {steps}",
        (
            route_document(service, service, [rule]),
            policy(service, outlier=ejecting(3), retry=retry, balancer={"type": "RoundRobin"}),
        ),
        play,
        route={"typed_per_filter_config": {FILTER: _filter(by_header)}},
        action={"retry_policy": _RETRY},
        cluster=_CLUSTER,
        endpoints=4,
    )


class _Player:
    def __init__(self, cast: Cast, by_header: bool) -> None:
        self._cast = cast
        self._by_header = by_header
        self._tokens: dict[int, str] = {}
        self._places: dict[int, int] = {}

    async def play(self, kind: Kind, number: int) -> str:
        before = self._places.get(number)
        if kind == "gone":
            return await self._eject(self._places[number])
        if kind == "failing":
            self._fail_once(self._places[number])
        outcome = await self._cast.ask(self._request(self._token(kind, number)))
        place = self._cast.places[-1]
        new = self._told(outcome)
        if new:
            self._tokens[number] = new
        self._places[number] = place
        stays = f", stays {place == before}" if kind in ("known", "failing") else ""
        return f"{told(outcome)}, {'a token' if new else 'no token'}{stays}"

    def _token(self, kind: Kind, number: int) -> str:
        if kind == "rubbish":
            return "Z29uZQ"
        return self._tokens[number] if kind in ("known", "failing") else ""

    def _request(self, token: str) -> Ask:
        if not token:
            return get(self._cast.service)
        field = (_NAME, token) if self._by_header else ("cookie", f"a=b; {_NAME}={token}")
        return get(self._cast.service, field)

    def _told(self, outcome: Outcome) -> str:
        if self._by_header:
            return (outcome.field(_NAME.encode()) or b"").decode()
        cookie = (outcome.field(b"set-cookie") or b"").decode()
        return cookie.partition(";")[0].partition("=")[2].strip('"')

    def _fail_once(self, place: int) -> None:
        actor = self._cast.actors[place]
        count = len(actor.arrivals)
        actor.act = lambda _: Act(status=503) if len(actor.arrivals) == count + 1 else Act()

    async def _eject(self, place: int) -> str:
        """Let an endpoint fail until nobody goes there."""
        actor = self._cast.actors[place]
        actor.act = lambda _: Act(status=503)
        for _ in range(40):
            await self._cast.ask()
        before = len(actor.arrivals)
        for _ in range(8):
            await self._cast.ask()
        return f"{len(actor.arrivals) - before} requests more"


def _filter(by_header: bool) -> Config:
    kind = "header" if by_header else "cookie"
    state = f"{_TYPE}.http.stateful_session.{kind}.v3.{kind.title()}BasedSessionState"
    own = {"name": _NAME} if by_header else {"cookie": {"name": _NAME, "path": "/"}}
    return {
        "@type": f"{_TYPE}.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "stateful_session": {
            "session_state": {
                "name": f"envoy.http.stateful_session.{kind}",
                "typed_config": {"@type": state, **own},
            }
        },
    }


_RETRY: Config = {
    "retry_on": "retriable-status-codes",
    "retriable_status_codes": [503],
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
    "host_selection_retry_max_attempts": 30,
}
_CLUSTER: Config = {
    "lb_policy": "ROUND_ROBIN",
    "outlier_detection": outlier_detection(3),
    "common_lb_config": at_once(),
}
