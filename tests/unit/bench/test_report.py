"""The report: ratios of medians, verdicts, and what is left out."""

from __future__ import annotations

from bench import report
from bench.__main__ import _without_folders
from bench.report import Conditions
from bench.rounds import Results, Sample
from bench.rows import HOPS, P99, PER_IDLE, SMALL


def samples(*values: float, busy: float | None = None, errors: int = 0) -> list[Sample]:
    return [Sample(value, errors, busy) for value in values]


def conditions(*names: str, skipped: tuple[str, ...] = ()) -> Conditions:
    return Conditions(
        machine="a machine",
        command="python -m bench",
        date="2026-11-21",
        versions=dict.fromkeys(names, "1.0"),
        rounds=3,
        seconds=2,
        rate=15_000,
        load_average=0.1,
        shared_core=False,
        skipped=skipped,
    )


RESULTS: Results = {
    "small": {
        "Remora": samples(40_000, 42_000, 50_000, busy=0.99),
        "Envoy": samples(30_000, 28_000, 31_000, busy=0.9),
        "no proxy": samples(80_000, 80_000, 81_000),
    },
    "p99": {"Remora": samples(0.003), "Envoy": samples(0.002), "no proxy": samples(0.0002)},
}


def row_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def test_the_ratio_is_one_of_medians() -> None:
    assert report.ratio_to_baseline(RESULTS, SMALL, "Remora") == 1.4


def test_the_command_names_no_folders_of_the_machine() -> None:
    assert _without_folders("/home/me/venvs/compiled/bin/python") == "compiled/bin/python"
    assert [_without_folders(word) for word in ("--rounds", "3", "here/x.md")] == ["--rounds", "3", "here/x.md"]


def test_verdicts_look_at_the_direction() -> None:
    text = report.render(RESULTS, conditions("Remora", "Envoy", "no proxy"))

    assert "**1.40** | 1.27 | ≥ 1.0 | 1.4 | aim met" in row_of(text, SMALL.title)
    assert "**1.50** | - | ≤ 1.0 | 0.7 | below the bar" in row_of(text, P99.title)
    assert SMALL.meets(1.2, SMALL.bar)
    assert not SMALL.meets(1.2, SMALL.aim)


def test_spread_and_units_are_shown() -> None:
    text = report.render(RESULTS, conditions("Remora", "Envoy", "no proxy"))

    assert "42,000 rps ± 6%" in row_of(text, SMALL.title)
    assert "| 99% | 90% |" in text
    assert "2 ms" in row_of(text, P99.title)


def test_work_per_processor_second_leaves_out_what_others_took() -> None:
    results: Results = {"small": {"Remora": samples(10_000, busy=0.25), "Envoy": samples(20_000, busy=0.5)}}

    assert report.ratio_to_baseline(results, SMALL, "Remora") == 0.5
    assert report.per_processor_second(results, SMALL, "Remora") == [40_000]
    assert "**0.50** | 1.00 |" in row_of(report.render(results, conditions("Remora", "Envoy")), SMALL.title)
    assert report.per_processor_second(RESULTS, P99, "Remora") is None


def test_two_hops_are_what_they_add() -> None:
    results: Results = {
        "hops": {"Remora": samples(0.0004), "Envoy": samples(0.0007), "no proxy": samples(0.0002)},
    }
    values = report.values_of(results, HOPS, "Remora")

    assert values is not None
    assert round(values[0], 6) == 0.2
    ratio = report.ratio_to_baseline(results, HOPS, "Remora")
    assert ratio is not None
    assert round(ratio, 6) == 0.4


def test_two_hops_say_nothing_without_the_way_without_a_proxy() -> None:
    assert report.values_of({"hops": {"Remora": samples(0.0004)}}, HOPS, "Remora") is None


def test_a_missing_contestant_leaves_a_gap_and_a_reason() -> None:
    results: Results = {"small": {"nginx": samples(70_000)}}
    text = report.render(results, conditions("nginx", skipped=("Envoy: not installed",) * 2))

    assert "not measured" in row_of(text, SMALL.title)
    assert text.count("- Envoy: not installed") == 1


def test_memory_alone_says_nothing_of_busy_cores() -> None:
    results: Results = {"per_idle": {"Remora": samples(4096), "Envoy": samples(16384)}}
    text = report.render(results, conditions("Remora", "Envoy"))

    assert "| 4 KiB | 16 KiB | **0.25** | - | - | - |  |" in row_of(text, PER_IDLE.title)
    assert "How busy" not in text


def test_failed_requests_and_measured_ceilings_are_told() -> None:
    results: Results = {
        "small": {"nginx": samples(75_000, errors=3), "Envoy": samples(30_000), "no proxy": samples(80_000)}
    }
    text = report.render(results, conditions("Envoy", "nginx", "no proxy"))

    assert f"{SMALL.title}, nginx: 3 requests failed" in text
    assert f"Near what load and backend can do at all: nginx in “{SMALL.title}”." in text
