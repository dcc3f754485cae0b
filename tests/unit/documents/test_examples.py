"""The example policies: each file is good by itself, and says in a comment what it does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from remora.documents.load import conflicts
from remora.documents.parse import parse_text
from remora.sidecar.cli.command import main

POLICIES = Path(__file__).parents[3] / "examples" / "policies"


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_good_and_has_a_comment(path: Path) -> None:
    text = path.read_text()
    parsed = parse_text(text, path.name)
    assert parsed.documents
    assert not parsed.errors
    assert not conflicts(parsed.documents)
    assert text.startswith("# ")


_QUESTION = re.compile(r"^\| (?:\[([\w.-]+)\]\(\1\))? *\|[^|]*\| `([^`]*)` \| `([^`]*)` \|$", re.MULTILINE)


def questions() -> list[tuple[str, str, str]]:
    """(file, question, what is to be read) of each row of the page; a row without a file is of the one above."""
    found: list[tuple[str, str, str]] = []
    for file, question, text in _QUESTION.findall((POLICIES / "README.md").read_text()):
        found.append((file or found[-1][0], question, text))
    return found


def test_every_example_is_on_the_page() -> None:
    assert {file for file, _, _ in questions()} == {path.name for path in POLICIES.glob("*.yaml")}


@pytest.mark.parametrize(("file", "question", "text"), questions(), ids=lambda value: value[:40])
def test_an_example_does_what_the_page_says(
    file: str, question: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(POLICIES)
    main(["explain", *shlex.split(question), "--config", file])
    page = " ".join(capsys.readouterr().out.split())  # however its lines are broken
    assert " ".join(text.split()) in page
