"""For all tests.

In CI nothing is skipped in silence: with CI=true a skip fails, unless ALLOWED_SKIPS.txt names the test. And what a file
leaves open fails that file. Examples of hypothesis may take as long as a busy machine needs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any speed", settings.default, deadline=None)
settings.load_profile("any speed")

ALLOWED_SKIPS = Path(__file__).with_name("ALLOWED_SKIPS.txt")

Report = pytest.TestReport | pytest.CollectReport


@pytest.fixture(scope="module", autouse=True)
def _own_garbage() -> Iterator[None]:
    """What was not closed is complained of when it is collected: here, not in some test of a later file."""
    yield
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    return _without_silent_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    return _without_silent_skip((yield))


def _without_silent_skip(report: Report) -> Report:
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected_failure and not _is_allowed(report.nodeid):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow ({_reason(report)}): name it in {ALLOWED_SKIPS.name}"
    return report


def _is_allowed(nodeid: str) -> bool:
    """A line names a file, a class or a test, with all in it and all its parameters."""
    lines = (line.partition("#")[0].strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return any(nodeid == line or nodeid.startswith((f"{line}::", f"{line}[")) for line in lines if line)


def _reason(report: Report) -> str:
    where = report.longrepr
    return where[2] if isinstance(where, tuple) else str(where)
