"""The reference pages are what the generator makes, and the generator leaves nothing out."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest

from remora.cli.flags import Flags
from remora.cli.reference import flag_tables, flags_of, subcommands
from remora.documents import reference as reference_module
from remora.documents.kinds import KINDS
from remora.documents.reference import ReferenceGapError, reference

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["policy.md", "flags.md"])
def test_the_page_is_what_the_generator_makes(name: str) -> None:
    pages = runpy.run_path(str(DOCS / "build.py"))["pages"]()
    assert (DOCS / name).read_text(encoding="utf-8") == pages[name], "run `make docs` and commit what it wrote"


def test_every_kind_has_a_section_with_its_fields() -> None:
    text = reference()
    for kind in KINDS:
        assert f"\n## {kind}\n" in text
    for field in ("spec.rules[].backendRefs[].weight", "spec.retry.safeMethods[]", "spec.endpoints[].address"):
        assert f"| `{field}` |" in text


def test_what_is_not_of_the_mesh_is_told() -> None:
    refused = next(line for line in reference().splitlines() if "so refused" in line)
    for field in ("spec.parentRefs[].sectionName", "spec.rules[].filters[].extensionRef"):
        assert field in refused


def test_a_field_without_meaning_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    meanings = {name: text for name, text in reference_module.MEANINGS.items() if name != "Retry.attempts"}
    monkeypatch.setattr(reference_module, "MEANINGS", meanings)
    with pytest.raises(ReferenceGapError, match=r"Retry\.attempts"):
        reference()


def test_a_meaning_without_field_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "MEANINGS", {**reference_module.MEANINGS, "Retry.jitter": "…"})
    with pytest.raises(ReferenceGapError, match=r"Retry\.jitter"):
        reference()


def test_flags_are_told_with_their_variables() -> None:
    flags = Flags("APP", {})
    parser = argparse.ArgumentParser()
    command = parser.add_subparsers().add_parser("go")
    flags.add(command, "--far", str, metavar="N|M", help="how far, in 100% of cases", short="-f")
    flags.add_switch(command, "--quick", help="how")
    command.add_argument("where", metavar="WHERE", help="to")
    table = flag_tables(subcommands(parser)["go"])
    assert "| `-f, --far N|M` | `APP_FAR` | how far, in 100% of cases |" in table
    assert "| `--quick, --no-quick` | `APP_QUICK` | how |" in table
    assert "| `WHERE` |  | to |" in table
    assert {"-f", "--far", "--no-quick"} <= flags_of(subcommands(parser)["go"])
