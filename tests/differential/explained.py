"""Differences that are meant; README.md gives the reasons."""

from __future__ import annotations

from tests.differential.compare import Finding


def explanation(finding: Finding) -> str | None:
    """The name of the class that `finding` belongs to, as in README.md; None: there is none."""
    return None
