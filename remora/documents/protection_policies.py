"""What protects a service, from document to model, and what types cannot say of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from remora.documents.durations import seconds
from remora.documents.errors import Fault
from remora.documents.filter_checks import OURS, check_value
from remora.documents.protection import Admission, Cause, Concurrency, Fallback
from remora.model import policies as model
from remora.model.names import service_name
from remora.model.policies import AdaptiveConcurrency, AdmissionControl, FallbackCause

_CAUSES: dict[Cause, FallbackCause] = {
    "NoEndpoint": "no_endpoint",
    "BreakerOpen": "breaker",
    "Failure": "failure",
    "Timeout": "timeout",
}


def compile_admission(admission: Admission | None) -> AdmissionControl | None:
    if admission is None:
        return None
    return AdmissionControl(
        multiplier=admission.multiplier_percent / 100,
        window_s=seconds(admission.window),
        volume=admission.volume,
        max_share=admission.max_percent / 100,
        shadow=admission.enforcement == "Shadow",
    )


def compile_concurrency(concurrency: Concurrency | None) -> AdaptiveConcurrency | None:
    if concurrency is None:
        return None
    return AdaptiveConcurrency(
        minimum=concurrency.min,
        maximum=concurrency.max,
        sample_s=seconds(concurrency.window),
        min_rtt_interval_s=seconds(concurrency.measure_every),
        min_rtt_requests=concurrency.measure_requests,
        buffer=concurrency.buffer_percent / 100,
        shadow=concurrency.enforcement == "Shadow",
    )


def compile_fallback(fallback: Fallback | None, namespace: str) -> model.Fallback | None:
    """`namespace` is the document's."""
    if fallback is None:
        return None
    answer, last_good = fallback.answer, fallback.last_good
    return model.Fallback(
        on=model.Fallback().on if fallback.causes is None else tuple(_CAUSES[cause] for cause in fallback.causes),
        answer=None
        if answer is None
        else model.StaticAnswer(answer.status, tuple((item.name, item.value) for item in answer.headers), answer.body),
        service=None if fallback.service is None else service_name(fallback.service, namespace),
        last_good=None if last_good is None else model.LastGood(seconds(last_good.max_age), last_good.max_bytes),
    )


def check_fallback(fallback: Fallback | None, targets: Collection[str]) -> Iterator[Fault]:
    """`targets`: the services that the policy is for."""
    if fallback is None:
        return
    given = [fallback.answer is not None, fallback.service is not None, fallback.last_good is not None]
    if sum(given) != 1:
        yield Fault("spec.fallback", "write one of answer, service and lastGood")
    if fallback.service in targets:
        yield Fault("spec.fallback.service", f"{fallback.service!r} cannot fall back to itself")
    if fallback.causes == ():
        yield Fault("spec.fallback.causes", "name at least one cause, or leave it out", tuple(_CAUSES))
    answer = fallback.answer
    if answer is None:
        return
    for index, header in enumerate(answer.headers):
        yield from check_value(header, f"spec.fallback.answer.headers[{index}].value")
        if header.name.lower() in OURS:
            yield Fault(f"spec.fallback.answer.headers[{index}].name", f"{header.name} is the mesh's own to write")
    if answer.status in (204, 205, 304) and answer.body:
        yield Fault("spec.fallback.answer.body", f"an answer of {answer.status} has no body")


def check_concurrency(concurrency: Concurrency | None) -> Iterator[Fault]:
    if concurrency is not None and concurrency.min > concurrency.max:
        yield Fault("spec.concurrency.min", f"{concurrency.min} is more than max, {concurrency.max}")
