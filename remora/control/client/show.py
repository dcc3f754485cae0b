"""What people see: tables, documents, differences, status."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from remora.documents.render import to_yaml


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded) + "\n"


def documents(stored: Sequence[dict[str, Any]], output: str, *, single: bool) -> str:
    """As `table`, `yaml` or `json`; a list, unless it is a single one that was asked for."""
    if output == "table":
        rows = ((i["key"]["namespace"], i["key"]["name"], i["key"]["kind"], str(i["revision"])) for i in stored)
        return table(("NAMESPACE", "NAME", "KIND", "REVISION"), rows)
    if output == "yaml":
        return "---\n".join(_yaml(item) for item in stored)
    plain = [item["document"] if item["document"] is not None else item["text"] for item in stored]
    return json.dumps(plain[0] if single else {"kind": "List", "apiVersion": "v1", "items": plain}, indent=2) + "\n"


def difference(name: str, before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    """Unified, empty when there is none."""
    old = _yaml(before).splitlines(keepends=True) if before else []
    new = to_yaml([after]).splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, f"{name} (in the mesh)", f"{name} (in the file)"))


def applied(results: Iterable[dict[str, Any]], *, dry_run: bool) -> str:
    lines: list[str] = []
    for result in results:
        would = "would be " if dry_run and result["result"] != "unchanged" else ""
        lines.append(f"{result['document']} {would}{result['result']}")
        lines += [f"  note: {note['path']}: {note['message']}" for note in result["notes"]]
    return "\n".join(lines) + "\n"


def status(view: dict[str, Any]) -> str:
    """The whole status in sections; those without anything to tell are left out."""
    refused = sum(not document["accepted"] for document in view["documents"])
    head = f"environment {view['env']}, revision {view['revision']}, refused documents: {refused}\n"
    if view["store"]:
        head += f"the store is away, serving what was read last: {view['store']}\n"
    sections = [head, _documents(view), _services(view), _sidecars(view), _problems(view)]
    return "\n".join(section for section in sections if section)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _documents(view: dict[str, Any]) -> str:
    if not view["documents"]:
        return ""
    rows = [
        (
            f"{d['kind']} {d['namespace']}/{d['name']}",
            str(d["revision"]),
            _verdict(d),
            str(d["activeRevision"] or "none"),
        )
        for d in view["documents"]
    ]
    text = table(("DOCUMENT", "REVISION", "STATUS", "IN USE"), rows)
    for document in view["documents"]:
        name = f"{document['kind']} {document['namespace']}/{document['name']}"
        text += "".join(f"  {name}: {_fault(fault)}\n" for fault in document["errors"])
        text += "".join(f"  {name}: note: {_fault(fault)}\n" for fault in document["notes"])
    return text


def _verdict(document: dict[str, Any]) -> str:
    return "accepted" if document["accepted"] else "REFUSED"


def _fault(fault: dict[str, Any]) -> str:
    path = fault.get("path")
    return f"{path}: {fault['message']}" if path else str(fault["message"])


def _services(view: dict[str, Any]) -> str:
    if not view["services"]:
        return ""
    rows = [
        (s["name"], str(s["routes"]), s["policy"] or "default", f"{s['healthy']}/{len(s['instances'])}")
        for s in view["services"]
    ]
    return table(("SERVICE", "ROUTES", "POLICY", "HEALTHY"), rows)


def _sidecars(view: dict[str, Any]) -> str:
    if not view["sidecars"]:
        return ""
    rows = [
        (
            s["node"],
            s["registered"] or "-",
            str(len(s["subscriptions"])),
            str(s["acked_revision"]),
            str(s["nacks"]),
            s["last_nack"] or "-",
        )
        for s in view["sidecars"]
    ]
    return table(("SIDECAR", "REGISTERED", "USES", "REVISION", "NACKS", "LAST NACK"), rows)


def _problems(view: dict[str, Any]) -> str:
    return "".join(f"left out: {problem['key']}: {problem['message']}\n" for problem in view["problems"])


def _yaml(item: dict[str, Any]) -> str:
    """A document that cannot be read is shown as it stands."""
    return to_yaml([item["document"]]) if item["document"] is not None else str(item["text"])
