"""What has become of a request, for people."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from remora.model.happened import Happened
from remora.sidecar.explain.numbers import seconds
from remora.sidecar.explain.paint import Paint


def render_history(found: Sequence[Happened], paint: Paint) -> str:
    """Each of them, the oldest first."""
    return "\n\n".join("\n".join(_lines(each, paint)) for each in found)


def _lines(told: Happened, paint: Paint) -> Iterator[str]:
    yield paint.bold(f"{told.method} http://{told.authority}{told.path}")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(told.at)) + f".{int(told.at % 1 * 1000):03d} UTC"
    by = "" if told.worker is None else f", worker {told.worker}"
    yield paint.dim(f"  ended {when}, after {seconds(told.seconds)}, {told.direction}{by}")
    yield paint.dim(f"  request id {told.request_id}, trace id {told.trace_id}")
    yield ""
    where = f", route {told.route}" if told.route else ""
    yield f"{paint.bold('service')}   {told.service or 'none'}{where}"
    yield from _attempts(told, paint)
    yield f"{paint.bold('answer')}    {_answer(told, paint)}"
    if told.flag or told.why:
        said = told.why or _MEANINGS.get(told.flag, "")
        flag = f"flag {told.flag}" if told.flag else ""
        yield f"{paint.bold('why')}       {': '.join(part for part in (flag, said) if part)}"


def _attempts(told: Happened, paint: Paint) -> Iterator[str]:
    if not told.attempts:
        yield f"{paint.bold('attempts')}  none: it did not get so far"
        return
    width = max(len(tried.endpoint) for tried in told.attempts)
    for number, tried in enumerate(told.attempts, 1):
        label = paint.bold("attempts") if number == 1 else " " * len("attempts")
        yield f"{label}  {number}  {tried.endpoint:{width}}  {tried.result}, {seconds(tried.seconds)}"


def _answer(told: Happened, paint: Paint) -> str:
    if told.grpc_status:
        text, good = f"gRPC {told.grpc_status}", told.grpc_status == "OK"
    else:
        text, good = (str(told.status), told.status < 500) if told.status else ("none", False)
    return paint.good(text) if good and not told.flag else paint.bad(text)


_MEANINGS = {
    "DC": "the caller went away before the answer was complete",
    "DI": "it was delayed on purpose",
}
"""Of flags that come without a sentence."""
