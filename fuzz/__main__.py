"""`python -m fuzz`: each target in a process of its own, one after another; exit status 1 when a law was broken."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.targets import MODULES

CRASHES = Path(__file__).with_name("crashes")
GRACE_S = 60
"""Beyond its time, before a target counts as hanging."""


def main() -> int:
    options = _options()
    if options.input:
        return _again(options.target[0], Path(options.input))
    if options.child:
        from fuzz.engine import fuzz

        fuzz(options.target[0], options.seconds, options.seed, CRASHES, Path(options.child))
        return 0
    failed = [target for target in options.target or MODULES if not _run(target, options.seconds, options.seed)]
    print(f"seed {options.seed}: " + (f"FAILED: {', '.join(failed)}" if failed else "no law was broken"))
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Feed inputs that nobody thought of to what reads bytes of others, and check that the laws hold "
        "(fuzz/laws.py). An input that breaks one is kept in fuzz/crashes. Exit status 1: a law was broken.",
        epilog=f"Targets: {', '.join(MODULES)}. By atheris where there is a wheel of it, else by random mutation.",
    )
    parser.add_argument("--target", action="append", choices=MODULES, metavar="NAME", help="only this; may repeat")
    parser.add_argument("--seconds", type=float, default=30, help="for each target (default 30)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is random (default: the time)")
    parser.add_argument("--input", metavar="FILE", help="run this input once, on the one target")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.input and len(options.target or ()) != 1:
        parser.error("--input needs one --target")
    return options


def _again(target: str, path: Path) -> int:
    from fuzz.engine import Runner

    Runner(target, CRASHES).run(path.read_bytes())
    print(f"{target}: no law broken")
    return 0


def _run(target: str, seconds: float, seed: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        command = [sys.executable, "-m", "fuzz", "--target", target, "--seconds", f"{seconds:g}", "--seed", str(seed)]
        log = Path(folder, "log")
        with log.open("wb") as output:
            try:
                status = subprocess.run(
                    [*command, "--child", str(corpus)],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=seconds + GRACE_S,
                ).returncode
            except subprocess.TimeoutExpired:
                status = -1
        lines = log.read_text(errors="replace").splitlines()
    if status:
        print(f"{target}: FAILED ({'hangs' if status < 0 else f'status {status}'})", *lines[-40:], sep="\n")
        return False
    print(*(line for line in lines if line.startswith(f"{target}:")), flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
