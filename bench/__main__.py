"""`python -m bench`: run the comparison and write the report."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bench import contestants, machine, report
from bench.contestants import Contestant, NoRemoraError
from bench.report import Conditions
from bench.rounds import Plan, Runner
from bench.rows import ROWS

REPORT = Path(__file__).with_name("RESULTS.md")
QUICK_ROUNDS, QUICK_SECONDS = 3, 1
FULL_ROUNDS, FULL_SECONDS = 9, 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        chosen, absent = _contestants(options.python, options.contestants)
    except NoRemoraError as error:
        parser.error(f"--python: {error}")
    load_average = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="remora-bench-") as folder:
        plan = Plan(
            contestants=tuple(chosen),
            rows=tuple(row for row in ROWS if not options.rows or row.key in options.rows),
            rounds=options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS),
            seconds=options.seconds or (QUICK_SECONDS if options.quick else FULL_SECONDS),
            cores=machine.pick_cores(),
            folder=Path(folder),
            open_files=machine.raise_file_limit(),
        )
        runner = Runner(plan)
        try:
            runner.run()
        except KeyboardInterrupt:
            print("bench: interrupted, nothing written", file=sys.stderr)
            return 130
    if not runner.results:
        print("bench: nothing could be measured:", *absent, *runner.skipped, sep="\n  ", file=sys.stderr)
        return 1
    text = report.render(runner.results, _conditions(arguments, runner, absent, load_average))
    options.out.write_text(text)
    print(text)
    print(f"written to {options.out}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare Remora with Envoy and others.")
    parser.add_argument("--quick", action="store_true", help="about three minutes, for a first look")
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=[row.key for row in ROWS], help="only these")
    names = contestants.names()
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME", choices=names, help=f"only these of: {', '.join(names)}"
    )
    parser.add_argument(
        "--python",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="interpreters of virtual environments: the remora that is installed there is measured, not this checkout; "
        "several stand side by side",
    )
    parser.add_argument("--rounds", type=_positive, help="times that each contestant is measured")
    parser.add_argument("--seconds", type=_positive, help="length of each measurement")
    parser.add_argument("--out", type=Path, default=REPORT, help="where the report goes (bench/RESULTS.md)")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _contestants(pythons: list[Path], wanted: Sequence[str] | None) -> tuple[list[Contestant], list[str]]:
    """Those that can take part, and why the others cannot. Raises NoRemoraError for one of `pythons`."""
    # absolute() and not resolve(): an interpreter of a virtual environment is a link to one that has no remora.
    asked = contestants.everyone([python.absolute() for python in pythons], wanted or ())
    missing = {contestant.name: contestant.missing() for contestant in asked}
    present = [contestant for contestant in asked if not missing[contestant.name]]
    return present, [f"{name}: {why}" for name, why in missing.items() if why]


def _without_folders(word: str) -> str:
    """What the report says of a path: its end, which of an interpreter is ENVIRONMENT/bin/python."""
    path = Path(word)
    return str(Path(*path.parts[1:][-3:])) if path.is_absolute() else word


def _conditions(arguments: Sequence[str], runner: Runner, absent: list[str], load_average: float) -> Conditions:
    versions = {contestant.name: contestant.version() for contestant in runner.plan.contestants}
    return Conditions(
        machine=machine.describe(),
        command=shlex.join(["python", "-m", "bench", *map(_without_folders, arguments)]),
        date=datetime.date.today().isoformat(),
        versions=versions | _tool_versions(),
        rounds=runner.plan.rounds,
        seconds=runner.plan.seconds,
        rate=runner.rate(),
        load_average=load_average,
        shared_core=runner.plan.cores.shared,
        skipped=(*absent, *runner.skipped),
    )


def _tool_versions() -> dict[str, str]:
    """Versions of the load generators that are there: the second word of what they print (wrk exits 1 after it)."""
    versions = {}
    for tool, flag in (("wrk", "-v"), ("h2load", "--version")):
        if shutil.which(tool):
            said = subprocess.run([tool, flag], capture_output=True, text=True, check=False)
            versions[tool] = (said.stdout or said.stderr).split()[1].rpartition("/")[2]
    return versions


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
