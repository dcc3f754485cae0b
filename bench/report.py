"""The results as Markdown: how they came about, the table, and each contestant's samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench import held, rounds, stats
from bench.contestants import BASELINE, DIRECT, SUBJECT
from bench.rounds import Results, Sample
from bench.rows import HOPS, ROWS, WORKERS_AT_ONCE, Row

CEILING_SHARE = 0.85
"""Above this share of what load and backend reach without a proxy, a row measures them as well."""


_PROCESSOR_NOTE = """\
“Per CPU second” is the same ratio for each second of processor time that the proxy itself used: it leaves out what
other programs took of the core, and a load that could give no more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """What a reader has to know to judge or repeat a run."""

    machine: str
    command: str
    date: str
    versions: dict[str, str]
    """By contestant or tool."""
    rounds: int
    seconds: int
    rate: float
    shared_core: bool
    load_average: float
    """Of the machine in the minute before the run: what else goes on there."""
    skipped: tuple[str, ...]


def render(results: Results, conditions: Conditions) -> str:
    """The whole report."""
    names = [name for name in conditions.versions if any(name in taken for taken in results.values())]
    parts = [
        "# Benchmarks",
        _introduction(conditions),
        *(f"## {name} against Envoy\n\n{_bars(results, name)}" for name in _subjects(names)),
        _PROCESSOR_NOTE,
        "## Everyone\n\nMedian ± half the distance between the quartiles; in brackets the ratio to Envoy.\n\n"
        + _everyone(results, names),
        *_busy(results, names),
        "## How it is measured\n\n" + _method(conditions),
    ]
    problems = dict.fromkeys([*conditions.skipped, *_errors(results)])
    if problems:
        parts.append("## Left out or failed\n\n" + "\n".join(f"- {' '.join(line.split())}" for line in problems))
    return "\n\n".join(parts) + "\n"


def values_of(results: Results, row: Row, name: str) -> list[float] | None:
    """A contestant's samples in the row's unit; for two hops, what they add to the median without a proxy."""
    taken = results.get(row.key, {}).get(name)
    if not taken:
        return None
    values = [sample.value / row.scale for sample in taken]
    if row is not HOPS or name == DIRECT:
        return values
    direct = results[row.key].get(DIRECT)
    if not direct:
        return None
    nothing = stats.median([sample.value / row.scale for sample in direct])
    return [value - nothing for value in values]


def ratio_to_baseline(results: Results, row: Row, name: str) -> float | None:
    """Ratio of medians to Envoy's in the same run; None when one of the two is not there."""
    mine, baseline = values_of(results, row, name), values_of(results, row, BASELINE)
    return stats.ratio(stats.median(mine), stats.median(baseline)) if mine and baseline else None


def per_processor_second(results: Results, row: Row, name: str) -> list[float] | None:
    """What a contestant did in each second of its own processor time, in the row's unit; None for other kinds of rows.

    Other programs on the core, and a load that could give no more, are out of this figure.
    """
    taken = results.get(row.key, {}).get(name, [])
    values = [sample.value / row.scale / sample.busy for sample in taken if sample.busy]
    return values if values and row.better == "higher" else None


def _processor_ratio(results: Results, row: Row, name: str) -> float | None:
    mine, baseline = per_processor_second(results, row, name), per_processor_second(results, row, BASELINE)
    return stats.ratio(stats.median(mine), stats.median(baseline)) if mine and baseline else None


def _introduction(conditions: Conditions) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items() if name != DIRECT)
    one_core = " **Only one core: load and proxy share it, the figures say little.**" if conditions.shared_core else ""
    return (
        f"{conditions.date}, by `{conditions.command}`, on {conditions.machine}.{one_core}\n\n"
        f"{versions}.\n\n"
        f"Load average in the minute before: {conditions.load_average:.1f}. "
        f"{conditions.rounds} rounds, {conditions.seconds} s for each measurement; "
        "within a round the contestants take turns. Figures of different runs or machines cannot be compared; "
        "ratios within a run can."
    )


def _subjects(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(SUBJECT)] or [SUBJECT]


def _bars(results: Results, subject: str) -> str:
    lines = []
    for row in _measured(results):
        ratio = ratio_to_baseline(results, row, subject)
        cells = [row.title, *(_value(row, values_of(results, row, name)) for name in (subject, BASELINE))]
        processor = _processor_ratio(results, row, subject)
        cells += [
            f"**{ratio:.2f}**" if ratio is not None else "-",
            f"{processor:.2f}" if processor is not None else "-",
            *_bounds(row),
            _verdict(row, ratio),
        ]
        lines.append(cells)
    return _table(["work, one core", subject, BASELINE, "ratio", "per CPU second", "bar", "aim", ""], lines)


def _bounds(row: Row) -> tuple[str, str]:
    sign = "≥" if row.better == "higher" else "≤"
    return f"{sign} {row.bar}" if row.bar is not None else "-", str(row.aim) if row.aim is not None else "-"


def _verdict(row: Row, ratio: float | None) -> str:
    if ratio is None:
        return "not measured"
    if row.bar is None or row.aim is None:
        return ""
    if row.meets(ratio, row.aim):
        return "aim met"
    return "bar met" if row.meets(ratio, row.bar) else "below the bar"


def _everyone(results: Results, names: Sequence[str]) -> str:
    lines = []
    for row in _measured(results):
        cells = [f"{row.title}, {row.unit}"]
        for name in names:
            ratio = ratio_to_baseline(results, row, name) if name not in (BASELINE, DIRECT) else None
            cells.append(_value(row, values_of(results, row, name), unit=False) + (f" ({ratio:.2f})" if ratio else ""))
        lines.append(cells)
    return _table(["work", *names], lines) + _ceiling_note(results, names)


def _ceiling_note(results: Results, names: Sequence[str]) -> str:
    near = []
    for row in _measured(results):
        direct = values_of(results, row, DIRECT)
        if row.better == "lower" or not direct:
            continue
        for name in names:
            values = values_of(results, row, name)
            if name != DIRECT and values and stats.median(values) > CEILING_SHARE * stats.median(direct):
                near.append(f"{name} in “{row.title}”")
    return f"\n\nNear what load and backend can do at all: {', '.join(near)}." if near else ""


def _busy(results: Results, names: Sequence[str]) -> list[str]:
    proxies = [name for name in names if name != DIRECT]
    lines = []
    for row in _measured(results):
        cells = [_busy_share(results[row.key].get(name, [])) for name in proxies]
        if any(cell != "-" for cell in cells):
            lines.append([row.title, *cells])
    if not lines:
        return []
    note = (
        "Median share of its core that the proxy used. Well under 100 % means that load and backend on the other core "
        "were the limit, and the proxy could do more."
    )
    return ["## How busy the proxy's core was", note, _table(["work", *proxies], lines)]


def _busy_share(samples: Sequence[Sample]) -> str:
    shares = [sample.busy for sample in samples if sample.busy is not None]
    return f"{stats.median(shares):.0%}" if shares else "-"


def _method(conditions: Conditions) -> str:
    return f"""\
- One core for the proxy; on the other one wrk, h2load or our own client, and the backend (nginx for HTTP/1.1, nghttpd
  for HTTP/2). Everything on loopback, in clear text. One worker in each proxy. What several workers reach together is
  not measured: they would need cores that the load leaves free. What {WORKERS_AT_ONCE} of them weigh is.
- The same policies in each: a table of 100 routes by path prefix of which the one in the middle is used, at most
  2 retries on connect failures, resets and 502/503/504, 5 s to connect, 15 s for a request, metrics on, access log off.
  Remora and Envoy also have, each in its own way: a retry budget, caps on connections and requests, ejection of
  endpoints that fail, a rate limit, admission control, and a fault that only a header asks for; Remora a breaker by
  error ratio besides, which Envoy lacks. nginx and HAProxy have of these what they know: the rate limit, the cap on
  connections, servers put aside, the header's fault. Nothing of it is hit; that it would be, tests see to. In front of
  the backend, the second of two hops, stands the rate limit.
  Remora stands at the caller (its outbound port). It also gives each request a W3C trace context, 1 % of them sampled,
  and a request id; Envoy gives it a request id, the others neither.
- What is missing: Remora exports no traces yet, so the others do not either.
- gRPC unary is a POST with a message of 128 bytes each way, `content-type: application/grpc`, and `grpc-status` in the
  trailers.
- p99: an open-loop client (`bench/openloop.py`) sends small GETs at Poisson-distributed times,
  {conditions.rate:,.0f} per second, half of Envoy's median above where that was measured. A latency counts from when
  its request was due, so waiting in line counts.
- Two hops: the same client at {rounds.HOPS_RATE:,.0f} per second through two proxies, one at the caller and one in
  front of the backend, both on the proxy's core; the median less the median without a proxy. The second has one route.
- Memory is RSS of all processes of a proxy, where pages that they share count once; what the kernel keeps for its
  sockets is not in it. All read their configuration from a file; a stream to control costs Remora some MiB more, since
  gRPC and protobuf are loaded only for it. Idle: a second after the start. With live connections: the most while wrk
  keeps them all busy.
- Idle connections: `bench/idle_client.py` opens {held.HELD_CONNECTIONS:,}, or {held.HELD_H2_CONNECTIONS:,} of HTTP/2,
  and has one answer on each. What each costs is what the last nine in ten of them added to RSS. In the end, after the
  load beside them, each is asked once more; what does not answer then, or did not at first, is told below as failed.
- The samples are few and the machine is not quiet: differences within the spread are none."""


def _errors(results: Results) -> list[str]:
    lines = []
    for row in _measured(results):
        for name, samples in results[row.key].items():
            errors = sum(sample.errors for sample in samples)
            if errors:
                lines.append(f"{row.title}, {name}: {errors:,} requests failed, were lost or not answered with 2xx")
    return lines


def _measured(results: Results) -> list[Row]:
    return [row for row in ROWS if results.get(row.key)]


def _value(row: Row, values: list[float] | None, *, unit: bool = True) -> str:
    if not values:
        return "-"
    middle = stats.median(values)
    text = f"{middle:,.0f}" if middle >= 1000 else f"{middle:.3g}"
    around = f" ± {stats.spread(values):.0%}" if len(values) > 1 else ""
    return f"{text} {row.unit}{around}" if unit else text + around


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
