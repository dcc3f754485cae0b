"""The example policies: each file is good by itself, and says in a comment what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from remora.documents.load import conflicts
from remora.documents.parse import parse_text

POLICIES = Path(__file__).parents[3] / "examples" / "policies"


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_good_and_has_a_comment(path: Path) -> None:
    text = path.read_text()
    parsed = parse_text(text, path.name)
    assert parsed.documents
    assert not parsed.errors
    assert not conflicts(parsed.documents)
    assert text.startswith("# ")
