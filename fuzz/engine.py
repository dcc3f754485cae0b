"""Running one target for some seconds, in a process of its own; the first input that breaks a law ends it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
import traceback
from pathlib import Path

INPUT_LIMIT_S = 2.0
"""Longest that one input may take: far above what any needs on a busy machine (0.1 to 5 ms)."""
MAX_INPUT_BYTES = 8192
MEMORY_LIMIT_MB = 1024
"""Of the whole process, with atheris and its corpus."""
INSTRUMENTED = ["remora.model", "remora.sidecar"]


class Runner:
    """Feeds inputs to a target, and keeps the one that fails."""

    def __init__(self, target: str, crashes: Path) -> None:
        from fuzz.targets import load

        self.runs = 0
        self._target = load(target)
        self._name = target
        self._crashes = crashes
        self._loop = asyncio.new_event_loop()

    def run(self, data: bytes) -> None:
        """Raises what the target raises, and TimeoutError for an input that takes too long."""
        self.runs += 1
        from fuzz.laws import no_logged_errors

        started = time.perf_counter()
        with no_logged_errors():
            self._loop.run_until_complete(self._target(data))
        if time.perf_counter() - started > INPUT_LIMIT_S:
            raise TimeoutError(f"one input took {time.perf_counter() - started:.1f} s")

    def run_and_keep(self, data: bytes) -> None:
        """`run`; a failure is told, its input kept, and the process ends with status 1."""
        try:
            self.run(data)
        except Exception:
            self._crashes.mkdir(parents=True, exist_ok=True)
            kept = self._crashes / f"{self._name}-{hashlib.sha256(data).hexdigest()[:12]}"
            kept.write_bytes(data)
            traceback.print_exc()
            print(f"{self._name}: broken by {data!r}\nagain: python -m fuzz --target {self._name} --input {kept}")
            sys.stdout.flush()
            os._exit(1)


def fuzz(target: str, seconds: float, seed: int, crashes: Path, corpus: Path | None) -> None:
    """Search for `seconds`; ends the process."""
    try:
        import atheris
    except ImportError:
        _by_mutation(target, seconds, seed, crashes)
        return
    with atheris.instrument_imports(include=INSTRUMENTED):
        runner = Runner(target, crashes)
    from fuzz.seeds import SEEDS, WORDS

    if corpus is not None:
        for number, data in enumerate(SEEDS[target]):
            (corpus / f"seed-{number}").write_bytes(data)
        words = corpus.with_suffix(".dict")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    arguments = [
        "fuzz",
        f"-max_total_time={int(seconds)}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={seed}",
        "-verbosity=0",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        *([f"-dict={words}", str(corpus)] if corpus is not None else []),
    ]
    started = time.monotonic()

    def one(data: bytes) -> None:
        runner.run_and_keep(data)
        if time.monotonic() - started > seconds:
            _done(target, runner, "atheris", started)

    atheris.Setup(arguments, one)
    atheris.Fuzz()


def _by_mutation(target: str, seconds: float, seed: int, crashes: Path) -> None:
    from fuzz.mutation import Mutator
    from fuzz.seeds import SEEDS, WORDS

    runner = Runner(target, crashes)
    mutator = Mutator(SEEDS[target], WORDS, seed)
    started = time.monotonic()
    for data in SEEDS[target]:
        runner.run_and_keep(data)
    while time.monotonic() - started < seconds:
        runner.run_and_keep(mutator.next())
    _done(target, runner, "mutation", started)


def _done(target: str, runner: Runner, engine: str, started: float) -> None:
    print(f"{target}: {runner.runs} inputs in {time.monotonic() - started:.0f} s by {engine}, no law broken")
    sys.stdout.flush()
    # libFuzzer has no other end than one of the process.
    os._exit(0)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)
