"""The snapshot from a file of documents: `--config FILE`."""

from __future__ import annotations

from pathlib import Path

from remora.model.snapshot import Snapshot


def load_static(path: Path) -> Snapshot:
    """The documents in `path`, compiled. Raises SnapshotError: a line for each fault, with file, document and path."""
    # Imported when needed: a sidecar that gets its configuration from control never parses YAML.
    from remora.documents.load import load_file

    return load_file(path)
