"""Every target holds for what its search starts from, and some mutations of it; and a broken law is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.laws import Answer, LawBrokenError, Strict, no_logged_errors, read_request
from fuzz.mutation import Mutator
from fuzz.seeds import SEEDS, WORDS
from fuzz.targets import MODULES, load
from remora.sidecar.wire.heads import ResponseHead

MUTATIONS = 60
SEED = 7


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
async def test_laws_hold(name: str) -> None:
    target, mutator = load(name), Mutator(SEEDS[name], WORDS, SEED)
    with no_logged_errors():
        for data in (b"", *SEEDS[name], *(mutator.next() for _ in range(MUTATIONS))):
            await target(data)


def test_the_command_loads_nothing_that_atheris_has_to_instrument() -> None:
    script = "import fuzz.__main__, fuzz.engine, sys; print('remora' in sys.modules)"
    root = Path(__file__).parents[3]
    said = subprocess.run([sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True).stdout
    assert said == "False\n"


def test_laws_see_what_breaks_them() -> None:
    heard = Strict(end=True)
    with pytest.raises(LawBrokenError, match="after the end"):
        heard.on_data(b"x", False)
    with pytest.raises(LawBrokenError, match="before a head"):
        Answer().send_data(b"x", True)
    answer = Answer()
    answer.send_head(ResponseHead(200, []), True)
    with pytest.raises(LawBrokenError, match="sent after the end"):
        answer.send_data(b"x", True)
    with pytest.raises(LawBrokenError, match="h11 refuses"):
        read_request(b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: y\r\n\r\n")
