"""What has become of a request, for people."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from remora.model.happened import Happened
from remora.sidecar.explain.numbers import count, seconds
from remora.sidecar.explain.paint import Paint


def render_history(found: Sequence[Happened], paint: Paint) -> str:
    """Each of them, the oldest first."""
    return "\n\n".join("\n".join(_lines(each, paint)) for each in found)


MAX_LISTED = 20


def render_list(found: Sequence[Happened], paint: Paint) -> str:
    """A line for each of the newest, or for several in a row that are alike; the newest last."""
    if not found:
        return "no request has failed here, as far as this sidecar remembers"
    groups = [list(group) for _, group in itertools.groupby(found, _row)]
    shown = groups[-MAX_LISTED:]
    rows = [(_when(group), *_row(group[-1]), group[-1].request_id) for group in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    older = [paint.dim("and others before these (--json has more)")] if len(groups) > len(shown) else []
    return "\n".join(
        [*older, *lines, paint.dim("what became of one: sidecar explain --request-id ID, the last column")]
    )


def _row(told: Happened) -> tuple[str, str, str]:
    tried = f"{count(len(told.attempts), 'attempt')}, " if told.attempts else ""
    flag = f", {told.flag}" if told.flag else ""
    return told.service or "none", f"{told.method} {told.path}", f"{tried}{_answer(told)[0]}{flag}"


def _when(group: list[Happened]) -> str:
    """Of one, or of several of the same kind in a row."""
    last = time.strftime("%H:%M:%S", time.gmtime(group[-1].at))
    return last if len(group) == 1 else f"{last} ({len(group)} in a row)"


def _lines(told: Happened, paint: Paint) -> Iterator[str]:
    yield paint.bold(f"{told.method} http://{told.authority}{told.path}")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(told.at)) + f".{int(told.at % 1 * 1000):03d} UTC"
    ago = f"{seconds(round(max(0.0, time.time() - told.at)))} ago"
    by = "" if told.worker is None else f", worker {told.worker}"
    yield paint.dim(f"  ended {when}, {ago}, after {seconds(told.seconds)}, {told.direction}{by}")
    yield paint.dim(f"  request id {told.request_id}, trace id {told.trace_id}")
    yield ""
    where = f", route {told.route}" if told.route else ""
    yield f"{paint.bold('service')}   {told.service or 'none'}{where}"
    yield from _attempts(told, paint)
    text, good = _answer(told)
    yield f"{paint.bold('answer')}    {paint.good(text) if good else paint.bad(text)}"
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


def _answer(told: Happened) -> tuple[str, bool]:
    """What was answered, and whether that is well."""
    if told.grpc_status:
        return f"gRPC {told.grpc_status}", told.grpc_status == "OK" and not told.flag
    return (str(told.status), told.status < 500 and not told.flag) if told.status else ("none", False)


_MEANINGS = {
    "DC": "the caller went away before the answer was complete",
    "DI": "it was delayed on purpose",
}
"""Of flags that come without a sentence."""
