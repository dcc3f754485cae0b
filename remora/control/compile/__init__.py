"""Documents and instances of one environment → parts of the Snapshot, incrementally."""

from remora.control.compile.catalog import Catalog, Changes
from remora.control.compile.instances import InstanceProblem
from remora.control.compile.status import DocumentStatus

__all__ = ["Catalog", "Changes", "DocumentStatus", "InstanceProblem"]
