"""What protects a service, from document to model, and what types cannot say of it."""

from __future__ import annotations

from collections.abc import Iterator

from remora.documents.durations import seconds
from remora.documents.errors import Fault
from remora.documents.protection import Admission, Concurrency
from remora.model.policies import AdaptiveConcurrency, AdmissionControl


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


def check_concurrency(concurrency: Concurrency | None) -> Iterator[Fault]:
    if concurrency is not None and concurrency.min > concurrency.max:
        yield Fault("spec.concurrency.min", f"{concurrency.min} is more than max, {concurrency.max}")
