"""Flags and environment that all examples share."""

from __future__ import annotations

import argparse
import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Where an instance listens and what it calls itself."""

    host: str
    port: int
    """0: any free port."""
    version: str
    instance: str


def parse_settings(service: str) -> Settings:
    """Reads the command line, whose defaults come from HOST, PORT, VERSION and INSTANCE."""
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{service}", description=f"The example service {service}."
    )
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="address to listen on")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8080"), help="port to listen on; 0: any")
    parser.add_argument("--version", default=os.environ.get("VERSION", "v1"), help="version to be, as v1")
    parser.add_argument("--instance", default=os.environ.get("INSTANCE", _default_instance(service)), help="own name")
    options = parser.parse_args()
    return Settings(options.host, options.port, options.version, options.instance)


def _default_instance(service: str) -> str:
    return f"{service}-{socket.gethostname()}-{os.getpid()}"
