"""What an input is fed to. A target is a coroutine of bytes that raises when a law (laws.py) is broken."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable

Target = Callable[[bytes], Awaitable[None]]

MODULES = {
    "http1_server": "fuzz.codecs",
    "http1_client": "fuzz.codecs",
    "http2_server": "fuzz.codecs",
    "http2_server_frames": "fuzz.codecs",
    "http2_client": "fuzz.codecs",
    "http2_fields": "fuzz.codecs",
    "hpack": "fuzz.codecs",
    "detection": "fuzz.detection",
    "tunnel": "fuzz.tunnels",
    "grpc_web": "fuzz.translators",
    "grpc_json": "fuzz.translators",
    "control": "fuzz.control",
}
"""Where each is, so that one alone can be loaded, and not before atheris is there to instrument what it imports."""


def load(name: str) -> Target:
    """The target of a name in MODULES."""
    target: Target = getattr(importlib.import_module(MODULES[name]), name)
    return target
