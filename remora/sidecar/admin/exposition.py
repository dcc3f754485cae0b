"""The sidecar's counters in Prometheus' text formats, by prometheus_client; imported at the first scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from remora.sidecar.admin.pages import Page, Question
from remora.sidecar.telemetry.metrics import DURATION_BUCKETS_S, Metrics, RequestLabels, RequestSeries
from remora.sidecar.telemetry.tcp import TcpLabels

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric

_LABELS = list(RequestLabels._fields)


class SidecarCollector:
    """Renders Metrics as metric families. `gauges` gives what is only known when asked."""

    def __init__(self, metrics: Metrics, gauges: Callable[[], Iterator[Gauge]]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client's registry."""
        from prometheus_client.core import CounterMetricFamily

        yield from self._requests()
        yield from self._grpc()
        yield from self._tcp()
        retries = CounterMetricFamily("mesh_retries", "Retries made.", labels=["service", "reason"])
        for key, count in self._metrics.retries.items():
            retries.add_metric(list(key), count)
        yield retries
        denied = CounterMetricFamily(
            "mesh_retries_denied", "Retries that the budget had no room for.", labels=["service"]
        )
        for service, count in self._metrics.retries_denied.items():
            denied.add_metric(list(service), count)
        yield denied
        mirrored = CounterMetricFamily(
            "mesh_mirrored_requests",
            "Copies of requests that went to a mirror, or were to go.",
            labels=["service", "status", "flag"],
        )
        for copied, count in self._metrics.mirrored.items():
            mirrored.add_metric(list(copied), count)
        yield mirrored
        ejections = CounterMetricFamily("mesh_ejections", "Endpoints left out because they fail.", labels=["service"])
        for service, count in self._metrics.ejections.items():
            ejections.add_metric(list(service), count)
        yield ejections
        checks = CounterMetricFamily("mesh_health_checks", "Health checks of endpoints.", labels=["service", "result"])
        for check, count in self._metrics.health_checks.items():
            checks.add_metric(list(check), count)
        yield checks
        faults = CounterMetricFamily(
            "mesh_faults", "Requests delayed or aborted on purpose.", labels=["service", "policy", "kind"]
        )
        for which, count in self._metrics.faults.items():
            faults.add_metric(list(which), count)
        yield faults
        breakers = CounterMetricFamily(
            "mesh_breaker_transitions", "How often a breaker came into a state.", labels=["service", "state"]
        )
        for into, count in self._metrics.breakers.items():
            breakers.add_metric(list(into), count)
        yield breakers
        fallbacks = CounterMetricFamily(
            "mesh_fallbacks", "Requests that fell back.", labels=["service", "cause", "kind"]
        )
        for fell, count in self._metrics.fallbacks.items():
            fallbacks.add_metric(list(fell), count)
        yield fallbacks
        shadowed = CounterMetricFamily(
            "mesh_shadowed", "Requests that a policy in shadow mode would have refused.", labels=["service", "policy"]
        )
        for where, count in self._metrics.shadowed.items():
            shadowed.add_metric(list(where), count)
        yield shadowed
        ratelimited = CounterMetricFamily(
            "mesh_ratelimited", "Requests over a rate limit.", labels=["service", "limit", "enforcement"]
        )
        for what, count in self._metrics.ratelimited.items():
            ratelimited.add_metric(list(what), count)
        yield ratelimited
        unanswered = CounterMetricFamily(
            "mesh_limiter_failures", "Questions that a rate limit service did not answer.", labels=["service", "limit"]
        )
        for asked, count in self._metrics.limiter_failures.items():
            unanswered.add_metric(list(asked), count)
        yield unanswered
        rejected = CounterMetricFamily("mesh_config_rejected", "Configurations that were not taken.")
        rejected.add_metric([], self._metrics.config_rejected)
        yield rejected
        overflow = CounterMetricFamily("mesh_series_overflowed", "Requests counted under `other`: too many series.")
        overflow.add_metric([], self._metrics.overflowed)
        yield overflow
        yield from self._gauge_families()

    def _requests(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        count = CounterMetricFamily("mesh_requests", "Requests answered.", labels=_LABELS)
        seconds = HistogramMetricFamily(
            "mesh_request_duration_seconds", "From a request's head to the end of its answer.", labels=_LABELS
        )
        received = CounterMetricFamily("mesh_request_bytes", "Bytes of request bodies.", labels=_LABELS)
        sent = CounterMetricFamily("mesh_response_bytes", "Bytes of response bodies.", labels=_LABELS)
        for labels, series in self._metrics.requests.items():
            _add(count, seconds, received, sent, list(labels), series)
        yield from (count, seconds, received, sent)

    def _grpc(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        labels = ["direction", "service", "method"]
        streams = CounterMetricFamily("mesh_grpc_streams", "gRPC calls begun.", labels=labels)
        messages = CounterMetricFamily("mesh_grpc_messages", "gRPC messages begun.", labels=[*labels, "way"])
        for key, series in self._metrics.grpc.items():
            streams.add_metric(list(key), series.streams)
            messages.add_metric([*key, "request"], series.request_messages)
            messages.add_metric([*key, "response"], series.response_messages)
        yield from (streams, messages)

    def _tcp(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        labels = list(TcpLabels._fields)
        opened = CounterMetricFamily("mesh_tcp_connections_opened", "Tunnels opened.", labels=labels)
        closed = CounterMetricFamily("mesh_tcp_connections_closed", "Tunnels ended.", labels=[*labels, "flag"])
        received = CounterMetricFamily("mesh_tcp_received_bytes", "Bytes from downstream.", labels=labels)
        sent = CounterMetricFamily("mesh_tcp_sent_bytes", "Bytes to downstream.", labels=labels)
        for key, series in self._metrics.tcp.items():
            opened.add_metric(list(key), series.opened)
            received.add_metric(list(key), series.received_bytes)
            sent.add_metric(list(key), series.sent_bytes)
            for flag, count in series.closed.items():
                closed.add_metric([*key, flag], count)
        yield from (opened, closed, received, sent)
        detected = CounterMetricFamily(
            "mesh_detected_connections",
            "Connections by what they speak, where that is not HTTP for sure.",
            labels=["listener", "protocol", "by"],
        )
        for found, count in self._metrics.detected.items():
            detected.add_metric(list(found), count)
        yield detected

    def _gauge_families(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for gauge in self._gauges():
            family = families.get(gauge.name)
            if family is None:
                make = CounterMetricFamily if isinstance(gauge, Counter) else GaugeMetricFamily
                family = families[gauge.name] = make(gauge.name, gauge.help, labels=list(gauge.labels))
            family.add_metric(list(gauge.labels.values()), gauge.value)
        yield from families.values()


class Gauge:
    """One value of a gauge, at the moment of a scrape."""

    __slots__ = ("help", "labels", "name", "value")

    def __init__(self, name: str, help_text: str, value: float, **labels: str) -> None:
        self.name = name
        self.help = help_text
        self.value = value
        self.labels = labels


class Counter(Gauge):
    """One value of a counter that is kept elsewhere."""

    __slots__ = ()


def metrics_page(collector: SidecarCollector) -> Callable[[Question], Page]:
    """The page for scrapers: OpenMetrics where they accept it, else the text format."""

    def page(question: Question) -> Page:
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(question.accept)
        return Page(encode(registry), content_type)

    return page


def _add(
    count: CounterMetricFamily,
    seconds: HistogramMetricFamily,
    received: CounterMetricFamily,
    sent: CounterMetricFamily,
    labels: list[str],
    series: RequestSeries,
) -> None:
    count.add_metric(labels, series.count)
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, observed in zip((*map(str, DURATION_BUCKETS_S), "+Inf"), series.buckets, strict=True):
        total += observed
        buckets.append((bound, total))
    seconds.add_metric(labels, buckets, series.seconds)
    received.add_metric(labels, series.request_bytes)
    sent.add_metric(labels, series.response_bytes)
