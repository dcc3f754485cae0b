"""Refused documents, counted. Names are the design's."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge

from remora.control.compile.catalog import Catalog, Changes
from remora.documents.kinds import KINDS

_OTHER = "other"
"""For kinds that are none, so that no one can make series by writing keys."""


class CompileMetrics:
    """mesh_config_rejected_total, mesh_config_refused, mesh_config_documents, mesh_config_revision."""

    __slots__ = ("_documents", "_refused", "_rejected", "_revision")

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rejected = Counter(
            "mesh_config_rejected_total", "Versions of documents that were refused", ["kind"], registry=registry
        )
        self._refused = Gauge(
            "mesh_config_refused", "Documents whose last version is refused now", ["kind"], registry=registry
        )
        self._documents = Gauge("mesh_config_documents", "Documents", ["kind"], registry=registry)
        self._revision = Gauge(
            "mesh_config_revision", "Revision of the store that the configuration is as new as", registry=registry
        )
        for kind in KINDS:
            self._rejected.labels(kind)

    def take(self, catalog: Catalog, changes: Changes) -> None:
        """After each `Catalog.apply`."""
        self._revision.set(catalog.revision)
        for status in changes.statuses:
            if not status.accepted:
                self._rejected.labels(_label(status.key.kind)).inc()
        if changes.statuses or changes.removed:
            self._count(catalog)

    def _count(self, catalog: Catalog) -> None:
        statuses = catalog.statuses()
        documents = Tally(_label(status.key.kind) for status in statuses)
        refused = Tally(_label(status.key.kind) for status in statuses if not status.accepted)
        for kind in (*KINDS, _OTHER):
            self._documents.labels(kind).set(documents[kind])
            self._refused.labels(kind).set(refused[kind])


def _label(kind: str) -> str:
    return kind if kind in KINDS else _OTHER
