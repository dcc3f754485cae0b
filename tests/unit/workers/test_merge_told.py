"""What several workers say of one request, as one answer."""

from __future__ import annotations

import msgspec

from remora.model.happened import Happened
from remora.sidecar.explain.values import Asked, BackendFacts, EndpointFacts, Explanation, Failing, Rule
from remora.sidecar.workers.merge_told import merge_told
from remora.sidecar.workers.messages import Told

ASKED = Asked("GET", "shop", "/")
OPEN = Failing("UO", 503, "breaker_open", "none are sent")


def told(state: str, now: str, *said: str, failing: Failing | None = None) -> Told:
    endpoint = EndpointFacts("a", "10.0.0.1:80", state, state == "healthy", active=1, connections=2)
    rule = Rule("breaker", ("opens",), now=now)
    backend = BackendFacts("shop.default", 1, 1.0, endpoints=(endpoint,))
    return Told(1, Explanation(ASKED, 3, "file", backends=(backend,), rules=(rule,), now=said, failing=failing))


def merged(*answers: Told) -> Explanation:
    page = merge_told(dict(enumerate(answers)), "url=http://shop/")
    return msgspec.json.decode(page.body, type=Explanation)


def test_what_is_the_same_in_all_is_said_once() -> None:
    found = merged(told("healthy", "closed", "it goes there"), told("healthy", "closed", "it goes there"))
    assert (found.now, found.rules[0].now, found.failing) == (("it goes there",), "closed", None)
    (endpoint,) = found.backends[0].endpoints
    assert (endpoint.active, endpoint.connections, endpoint.note) == (2, 4, "")


def test_what_differs_is_said_by_worker_and_fails_only_if_it_does_in_all() -> None:
    failing = told("ejected", "open", "it is answered 503", failing=OPEN)
    found = merged(failing, told("healthy", "closed", "it goes there"))
    assert found.now == ("worker 0: it is answered 503", "worker 1: it goes there")
    assert found.rules[0].now == "worker 0: open; worker 1: closed"
    assert found.failing is None
    (endpoint,) = found.backends[0].endpoints
    assert (endpoint.usable, endpoint.note) == (False, "worker 0: ejected, worker 1: healthy")
    assert merged(failing, failing).failing == OPEN


def test_what_has_happened_is_told_in_the_order_of_time_with_who_carried_it() -> None:
    first, second = (Happened(at, 0.1, "outbound", "GET", "shop", "/", "", "", 503) for at in (1.0, 2.0))
    page = merge_told({0: Told(1, happened=(second,)), 1: Told(1, happened=(first,))}, "failures=all")
    found = msgspec.json.decode(page.body, type=list[Happened])
    assert [(each.at, each.worker) for each in found] == [(1.0, 1), (2.0, 0)]


def test_nobody_answers() -> None:
    page = merge_told({}, "url=http://shop/")
    assert page.status == 503
    assert b"no worker answers" in page.body
