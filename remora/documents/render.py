"""Documents → text, for people: YAML in the order in which it was written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


def to_yaml(raws: Iterable[dict[str, Any]]) -> str:
    """One YAML text of plain documents, `---` between them."""
    return "---\n".join(
        yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=False) for raw in raws
    )
