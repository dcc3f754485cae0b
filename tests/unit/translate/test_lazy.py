"""A sidecar that translates nothing loads nothing of it: idle memory is a feature."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import remora.sidecar.app.run, remora.sidecar.cli, remora.sidecar.workers.worker
print(*(name for name in sys.modules if name.startswith(("google", "remora.sidecar.translate."))))
"""


def test_what_translates_is_loaded_only_when_asked_for() -> None:
    found = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout.split()
    assert found == ["remora.sidecar.translate.cors"]
