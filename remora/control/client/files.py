"""Documents from `-f FILE`, `-f DIR` and `-f -`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from remora.cli.flags import UsageError
from remora.documents.errors import DocumentError, Fault
from remora.documents.kinds import Document, DocumentKey, key_of
from remora.documents.load import conflicts
from remora.documents.parse import Parsed, parse_text

_SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"


def read_documents(names: Iterable[str]) -> Parsed:
    """All documents of these files, each checked, and together. Raises UsageError when one cannot be read."""
    parts = [_read(source, text) for source, text in _texts(names)]
    documents = tuple(document for part in parts for document in part.documents)
    raws = tuple(raw for part in parts for raw in part.raws)
    errors = tuple(error for part in parts for error in part.errors)
    return Parsed(documents, raws, errors + tuple(_twice(documents)) + conflicts(documents, all_known=False))


def _read(source: str, text: str) -> Parsed:
    parsed = parse_text(text, source)
    if not parsed.documents and not parsed.errors:
        raise UsageError(f"{source}: there is no document in it")
    return parsed


def _texts(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == STDIN:
            yield "standard input", sys.stdin.read()
            continue
        for path in _files(Path(name)):
            yield str(path), _text(path)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"there is no file or folder {str(path)!r}")
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"there is no {', '.join(_SUFFIXES)} file in folder {str(path)!r}")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (at byte {error.start})") from None


def _twice(documents: Iterable[Document]) -> Iterator[DocumentError]:
    seen: set[DocumentKey] = set()
    for document in documents:
        key = key_of(document)
        if key in seen:
            yield DocumentError.of(str(key), Fault("metadata.name", "more than one file has this document; keep one"))
        seen.add(key)
