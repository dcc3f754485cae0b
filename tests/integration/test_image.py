"""The Dockerfile without an engine: its structure, and the installation that it does, in a fresh venv."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Instruction:
    stage: str
    word: str
    rest: str


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: list[Instruction] = []
    stage = ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        found.append(Instruction(stage, word, rest.strip()))
    return found


def of(word: str, stage: str | None = None) -> list[str]:
    return [found.rest for found in instructions() if found.word == word and stage in (None, found.stage)]


def test_stages_build_on_slim_and_on_each_other() -> None:
    assert of("ARG") == ["PYTHON=3.13-slim"]
    assert of("FROM") == [
        "python:${PYTHON} AS build",
        "python:${PYTHON} AS runtime",
        "runtime AS examples",
        "runtime AS remora",
    ]


def test_the_default_image_runs_as_1337() -> None:
    assert instructions()[-1].stage == "remora"
    assert of("USER", "remora") == ["1337:1337"]
    assert of("USER", "examples") == ["1000:1000"]
    assert "--gid 1337" in of("RUN", "runtime")[0]


def test_the_wheel_is_compiled() -> None:
    assert of("ENV", "build")[-1] == "HATCH_BUILD_HOOK_ENABLE_CUSTOM=true"
    assert any("gcc" in line for line in of("RUN", "build"))


def test_every_port_but_admin_is_exposed() -> None:
    assert set(of("EXPOSE", "remora")[0].split()) == {"15001", "15006", "15010", "15014", "15020"}


def test_everything_copied_is_in_the_repository_and_in_the_build_context() -> None:
    copied = [name for rest in of("COPY") if "--from" not in rest for name in rest.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert set(copied) == set(allowed)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in allowed), name


def test_the_venv_comes_from_the_build_stage_and_leads_the_path() -> None:
    assert "--from=build /opt/remora /opt/remora" in of("COPY", "runtime")
    assert of("ENV", "runtime")[0].startswith("PATH=/opt/remora/bin:$PATH")


@pytest.mark.timeout(300)
def test_the_wheel_installs_and_both_commands_start(tmp_path: Path) -> None:
    """What the build stage does, but for compiling (tests/compiled.py does).

    The venv borrows the dependencies installed here, so that nothing is downloaded.
    """

    def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)

    wheel = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT
    )
    assert wheel.returncode == 0, wheel.stderr
    venv = tmp_path / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", venv).returncode == 0
    [built] = tmp_path.glob("remora_mesh-*.whl")
    target = next(venv.glob("lib/python*/site-packages"))
    installed = run(sys.executable, "-m", "pip", f"--python={venv}/bin/python", "install", "--no-deps", built)
    assert installed.returncode == 0, installed.stderr
    (target / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    for command in ("sidecar", "control"):
        said = run(venv / "bin" / command, "--help")
        assert said.returncode == 0, said.stderr
        assert re.match(rf"usage: {command}", said.stdout)
    where = run(venv / "bin" / "python", "-c", "import remora; print(remora.__file__)")
    assert where.stdout.startswith(str(target))
