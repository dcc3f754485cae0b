"""Remora, a service mesh in Python: `remora.sidecar` proxies, `remora.control` pushes what it should do."""

__version__ = "0.1.0"
