"""The gRPC service: each sidecar gets what it uses, and keeps its registration alive."""

from remora.control.push.connection import SessionView
from remora.control.push.resources import PushCatalog
from remora.control.push.server import PushServer

__all__ = ["PushCatalog", "PushServer", "SessionView"]
