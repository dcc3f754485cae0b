"""`python -m soak --minutes 30`: exit status 0 when nothing was found, 1 when something was, 130 when interrupted."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from demo.processes import Family
from soak.leaks import SIDECAR, Watched
from soak.network import leave_others
from soak.run import Soak
from soak.world import World

ROOT = Path(__file__).parents[1]
EXIT_FOUND, EXIT_INTERRUPTED = 1, 130
SHOWN = 40
"""Findings that are printed; one bug makes many."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m soak", description="Mixed load through two sidecars, with trouble."
    )
    parser.add_argument("--minutes", type=float, default=30, help="under load (30)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of all that is random"
    )
    parser.add_argument("--logs", type=Path, help="keep all logs here (else in a new folder, if something is found)")
    options = parser.parse_args()
    logs = options.logs or Path(tempfile.mkdtemp(prefix="remora-soak-"))
    where = "in a network of its own" if leave_others() else "on the network of all (no namespace may be made here)"
    print(f"seed {options.seed}, {options.minutes:g} min under load, {where}, logs in {logs}", flush=True)
    status = asyncio.run(_soak(options.minutes * 60, options.seed, logs))
    if status == 0 and options.logs is None:
        shutil.rmtree(logs)
    return status


async def _soak(seconds: float, seed: int, logs: Path) -> int:
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        family = Family(logs, ROOT)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
                soak = Soak(World(family, Path(folder), session), seed)
                running = asyncio.create_task(soak.run(seconds))
                waiting = asyncio.create_task(interrupted.wait())
                await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
                whole = running.done()
                for task in (running, waiting):
                    task.cancel()
                await asyncio.wait((running, waiting))
                if whole:
                    running.result()
            soak.findings += await family.stop()
        finally:
            family.kill()
    soak.findings += _complaints(logs)
    _report(soak, time.monotonic() - began)
    if soak.trouble is not None:
        (logs / "trouble.log").write_text("\n".join([*soak.trouble.told, *soak.findings, ""]))
    print(*soak.findings[:SHOWN], sep="\n")
    if len(soak.findings) > SHOWN:
        print(f"… and {len(soak.findings) - SHOWN} more")
    if soak.findings:
        print(f"FAILED: {len(soak.findings)} findings; again: python -m soak --minutes {seconds / 60:g} --seed {seed}")
        return EXIT_FOUND
    print("nothing was found" if whole else "interrupted; nothing was found so far")
    return 0 if whole else EXIT_INTERRUPTED


def _complaints(logs: Path) -> list[str]:
    """Tracebacks in what sidecars and control have said."""
    found = []
    for log in sorted((*logs.glob("*-sidecar.log"), *logs.glob("control.log"))):
        lines = log.read_text(errors="replace").splitlines()
        places = [index for index, line in enumerate(lines) if line.startswith("Traceback") or " ERROR " in line]
        found += [f"{log.name}:{index + 1}: {' | '.join(lines[index : index + 3])}" for index in places]
    return found


def _report(soak: Soak, took_s: float) -> None:
    ledger = soak.ledger
    print(f"\n{'client':<24}{'good':>9}{'failed as it may':>18}")
    failed = {kind: sum(n for seen, n in ledger.explained.items() if seen.kind == kind) for kind in ledger.done}
    for kind, count in sorted(ledger.done.items()):
        print(f"{kind:<24}{count:>9}{failed[kind]:>18}")
    print(f"{'all':<24}{sum(ledger.done.values()):>9}{ledger.explained.total():>18}")
    print(f"{ledger.bytes / 1e6:.0f} MB of bodies checked at both ends, in {took_s:.0f} s with start and stop")
    if soak.trouble is not None:
        print("trouble: " + ", ".join(f"{count} x {what}" for what, count in sorted(soak.trouble.made.items())))
    print(f"\n{'sidecar':<12}{'memory MiB':>14}{'under load':>12}{'files':>12}{'tasks':>12}{'upstream':>12}")
    for watched in soak.watched:
        _row(watched)
    print(flush=True)


def _row(watched: Watched) -> None:
    before, after = watched.before, watched.after
    if before is None or after is None:
        return
    pairs = [
        (before.other_files, after.other_files),
        (before.tasks, after.tasks),
        (before.upstream, after.upstream),
    ]
    shown = "".join(f"{f'{a} → {b}':>12}" for a, b in pairs)
    for process, held in before.memory.items():
        memory = f"{held / 2**20:.1f} → {after.memory.get(process, 0) / 2**20:.1f}"
        grown = f"{watched.growth(process) / 2**20:+.1f}"
        name, rest = (watched.name, shown) if process == SIDECAR else (f"  {process}", "")
        print(f"{name:<12}{memory:>14}{grown:>12}{rest}")


if __name__ == "__main__":
    sys.exit(main())
