"""The rule about skips in CI (tests/conftest.py), on a small suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SUITE = """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no such tool")
@pytest.mark.parametrize("n", [1, 2])
def test_skips(n): pass

@pytest.mark.xfail
def test_known(): assert False
"""


def run(folder: Path, allowed: str, *, ci: str) -> tuple[int, str]:
    """Exit status and output of pytest on SUITE."""
    shutil.copy(CONFTEST, folder)
    (folder / "ALLOWED_SKIPS.txt").write_text(allowed)
    (folder / "test_suite.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "CI": ci},
        check=False,
    )
    return done.returncode, done.stdout


def test_a_skip_is_a_failure_in_ci_and_says_why(tmp_path: Path) -> None:
    status, output = run(tmp_path, "# nothing", ci="true")

    assert status == 1
    assert "1 passed, 1 xfailed, 2 errors" in output
    assert "skipped, which CI does not allow (Skipped: no such tool): name it in ALLOWED_SKIPS.txt" in output


def test_a_skip_that_is_listed_stays_a_skip(tmp_path: Path) -> None:
    status, output = run(tmp_path, "test_suite.py::test_skips  # the tool is not in Debian", ci="true")

    assert status == 0
    assert "1 passed, 2 skipped, 1 xfailed" in output


def test_one_parameter_can_be_listed(tmp_path: Path) -> None:
    status, output = run(tmp_path, "test_suite.py::test_skips[1]", ci="true")

    assert status == 1
    assert "1 passed, 1 skipped, 1 xfailed, 1 error" in output


def test_a_skipped_module_is_an_error_in_ci(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")

    status, output = run(tmp_path, "test_suite.py::test_skips", ci="true")

    assert status != 0
    assert "1 error" in output


def test_elsewhere_skips_are_skips(tmp_path: Path) -> None:
    status, output = run(tmp_path, "", ci="")

    assert status == 0
    assert "2 skipped" in output
