"""What each worker sees of a service, as one."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from remora.model.snapshot import Endpoint
from remora.sidecar.admin.views import ClusterView, EndpointState, EndpointView, LevelView, Share
from remora.sidecar.workers.merge import merge_clusters


def view(instance: str, state: EndpointState = "healthy", active: int = 0, connections: int = 0) -> EndpointView:
    return EndpointView(Endpoint(instance, "127.0.0.1", 8080), state, active, connections)


def cluster(name: str, *endpoints: EndpointView, inbound: bool = False) -> ClusterView:
    return ClusterView(name, "round_robin", endpoints, inbound)


def test_requests_and_connections_are_added_up_and_the_shares_shown() -> None:
    (merged,) = merge_clusters(
        {
            0: [cluster("orders", view("o-1", active=1, connections=2))],
            1: [cluster("orders", view("o-1", active=10, connections=20))],
        }
    )
    (found,) = merged.endpoints
    assert (merged.name, merged.balancer) == ("orders", "round_robin")
    assert (found.active, found.connections) == (11, 22)
    assert found.shares == (Share(0, "healthy", 1, 2), Share(1, "healthy", 10, 20))


def test_one_worker_that_cannot_reach_an_endpoint_is_enough_to_show() -> None:
    (merged,) = merge_clusters(
        {0: [cluster("orders", view("o-1", "unreachable"))], 1: [cluster("orders", view("o-1"))]}
    )
    assert merged.endpoints[0].state == "unreachable"


def test_a_worker_that_is_not_as_far_yet_hides_nothing() -> None:
    merged = merge_clusters(
        {0: [cluster("orders", view("o-1"))], 1: [cluster("orders", view("o-1"), view("o-2")), cluster("stock")], 2: []}
    )
    assert [(found.name, len(found.endpoints)) for found in merged] == [("orders", 2), ("stock", 0)]


def test_the_app_and_a_service_of_its_name_stay_apart() -> None:
    app, service = cluster("orders.default", view("app"), inbound=True), cluster("orders.default", view("o-1"))
    merged = merge_clusters({0: [app, service], 1: [app, service]})
    assert [(found.inbound, found.endpoints[0].endpoint.id) for found in merged] == [(True, "app"), (False, "o-1")]


def test_shares_are_the_mean_and_scores_the_worst() -> None:
    first = msgspec.structs.replace(view("o-1"), share=0.2, score=1.0, latency_s=0.1)
    second = msgspec.structs.replace(view("o-1"), share=0.4, score=3.0, latency_s=0.05)
    level = LevelView(("a",), 1.0, 1, 1, panic=False)
    one, other = (ClusterView("orders", "peak_ewma", (found,), levels=(level,)) for found in (first, second))
    (merged,) = merge_clusters({0: [one], 1: [other]})
    assert merged.levels == (level,)
    (found,) = merged.endpoints
    assert (round(found.share, 9), found.score, found.latency_s) == (0.3, 3.0, 0.1)


NUMBERS = st.integers(0, 100)
STATES: st.SearchStrategy[EndpointState] = st.sampled_from(["healthy", "unhealthy", "unreachable"])
ENDPOINTS = st.lists(
    st.builds(view, st.sampled_from(["a", "b", "c"]), STATES, NUMBERS, NUMBERS), unique_by=lambda v: v.endpoint.id
)


@given(st.lists(ENDPOINTS, max_size=4))
def test_nothing_is_lost_or_counted_twice(workers: list[list[EndpointView]]) -> None:
    merged = merge_clusters({number: [cluster("orders", *views)] for number, views in enumerate(workers)})
    found = [endpoint for one in merged for endpoint in one.endpoints]
    seen = [endpoint for views in workers for endpoint in views]
    assert {view.endpoint.id for view in found} == {view.endpoint.id for view in seen}
    assert len(found) == len({view.endpoint.id for view in found})
    assert sum(view.active for view in found) == sum(view.active for view in seen)
    assert sum(view.connections for view in found) == sum(view.connections for view in seen)
    assert sum(len(view.shares) for view in found) == len(seen)
