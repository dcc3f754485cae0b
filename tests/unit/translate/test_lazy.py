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
    assert found == []


MISSING = """
import sys
sys.modules["google.api"] = None
from remora.sidecar.cli import main
sys.exit(main(["run", "--upstream", ":1", "--grpc-json", sys.argv[1]]))
"""


def test_without_the_extra_it_says_what_to_install() -> None:
    found = subprocess.run([sys.executable, "-c", MISSING, __file__], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    told = "sidecar: --grpc-json needs googleapis-common-protos: pip install 'remora-mesh[json]'\n"
    assert found.stderr == told
