"""What the bench starts: the same table for each, and a Remora for every interpreter that is named."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bench import contestants
from bench.backends import ROUTES, Address
from bench.contestants import NoRemoraError, envoy, haproxy, nginx, remora
from bench.contestants.base import Hop, Job
from bench.contestants.remora_documents import documents

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of a virtual environment with this checkout in it, and this environment's other packages."""
    return _environment(tmp_path_factory.mktemp("pure"), ROOT)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose HTTP/1 codec does not come from a .py file, as with a compiled wheel."""
    folder = tmp_path_factory.mktemp("compiled")
    package = folder / "packages" / "remora"
    http1 = package / "sidecar" / "wire" / "http1"
    http1.mkdir(parents=True)
    for parent in (http1, *http1.parents[:3]):
        (parent / "__init__.py").write_text("__version__ = '7.8'\n")
    (package / "sidecar" / "cli.py").touch()
    (http1 / "server.py").write_text("__file__ = 'server.cpython.so'\n")
    return _environment(folder, folder / "packages")


def _environment(folder: Path, path: Path) -> Path:
    venv.create(folder / "venv", symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    others = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "remora.pth").write_text("\n".join([str(path), *others]))
    return folder / "venv" / "bin" / "python"


def job(tmp_path: Path, hop: Hop = "first", workers: int = 1) -> Job:
    return Job("http1", Address(80), hop, 0, tmp_path, workers)


def test_each_interpreter_brings_its_remora(pure: Path, compiled: Path) -> None:
    names = [each.name for each in contestants.everyone([compiled, pure], ["Remora", "nginx"])]
    python = ".".join(map(str, sys.version_info[:3]))

    assert names == ["Remora compiled", "Remora pure", "nginx"]
    assert remora.Remora("any", compiled).version() == f"7.8 (compiled, Python {python})"
    assert remora.Remora("any", pure).version().endswith(f" (pure, Python {python})")


def test_interpreters_with_the_same_build_are_numbered(pure: Path) -> None:
    assert [each.name for each in remora.of_interpreters([pure, pure])] == ["Remora pure 1", "Remora pure 2"]
    assert [each.name for each in remora.of_interpreters([pure])] == ["Remora"]
    assert [each.name for each in remora.of_interpreters([])] == ["Remora"]


def test_a_named_interpreter_does_not_find_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    python = tmp_path / "venv" / "bin" / "python"

    with pytest.raises(NoRemoraError, match=r"cannot run a sidecar .*No module named 'remora'.*: install remora-mesh"):
        remora.Remora("any", python).build()


def test_a_bad_interpreter_is_said_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--python", "/no/such/python", "/nor/this"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 2
    assert "error: --python: /no/such/python cannot be started: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_of_routes_is_the_callers(tmp_path: Path) -> None:
    for hop, routes in (("first", ROUTES), ("second", 1)):
        given = job(tmp_path, "first" if hop == "first" else "second")
        assert len(given.route_prefixes()) == routes
        assert haproxy.configuration(given, Address(81)).count("use_backend") == routes
        assert nginx.configuration(given, Address(81), "/root").count("proxy_pass") == routes
        assert json.dumps(envoy.bootstrap(given, 81)).count("path_separated_prefix") == routes
    routes = [document for document in documents(job(tmp_path)) if document["kind"] == "HTTPRoute"]
    assert sum(len(route["spec"]["rules"]) for route in routes) == ROUTES


def test_workers_are_asked_for(tmp_path: Path) -> None:
    two = job(tmp_path, workers=2)

    assert "worker_processes 2;" in nginx.configuration(two, Address(81), "/root")
    assert "nbthread 2" in haproxy.configuration(two, Address(81))
