"""`make compiled`: the tests of what the compiled wheel compiles, on that wheel.

It is built, and installed in a virtual environment of its own, which borrows the dependencies installed here. The
tests run from a copy of everything but `remora`, so that they can find no other than the installed one. Arguments go to
pytest and stand in place of CHOSEN.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHOSEN = (
    *(f"tests/unit/{part}" for part in ("wire", "exchange", "upstream", "routing", "policy", "telemetry", "translate")),
    "tests/differential",
    "tests/integration",
    # These are of control alone, start no sidecar, or take long to say what others say too.
    *(
        f"--ignore-glob=tests/integration/test_{part}*"
        for part in ("chart", "control", "demo", "examples", "image", "many", "mesh", "push", "store")
    ),
)
_NOT_COPIED = shutil.ignore_patterns("remora", "dist", "build", "__pycache__", ".*")


def main(arguments: Sequence[str]) -> int:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        print(f"skipped: there is no C compiler here ({compiler})")
        return 0
    with tempfile.TemporaryDirectory(prefix="remora-compiled-") as folder:
        work = Path(folder)
        python = install(build(work / "wheels"), work / "venv")
        away = work / "away"
        shutil.copytree(ROOT, away, ignore=_NOT_COPIED)
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        said = subprocess.run(
            [python, "-m", "remora.sidecar.cli", "--version"], cwd=away, capture_output=True, text=True
        )
        print(said.stdout or said.stderr, end="", flush=True)
        if "(compiled)" not in said.stdout:
            return 1
        tests = [python, "-m", "pytest", "-p", "no:cacheprovider", *(arguments or CHOSEN)]
        return subprocess.run(tests, cwd=away, env=environ, check=False).returncode


def build(folder: Path) -> Path:
    """The compiled wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, env={**os.environ, "HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"}, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def install(wheel: Path, venv: Path) -> Path:
    """Interpreter of a new environment with `wheel`, and with what is installed for this one."""
    python = venv / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(pip, check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    # Only the folder: a checkout that is installed in it as editable is not taken along.
    (packages / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
