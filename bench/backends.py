"""What the proxies forward to. nginx answers HTTP/1, nghttpd HTTP/2; both are several times faster than any proxy."""

from __future__ import annotations

import dataclasses
import shutil
import struct
from pathlib import Path
from typing import Literal

from bench import processes
from bench.processes import HOST, Process

Family = Literal["http1", "h2"]
"""What downstream and upstream speak in a row."""

ROUTES = 100
REQUESTED_ROUTE = 50
"""In the middle of the table: the average cost of a table that is searched in order."""

SMALL_PATH = f"/r{REQUESTED_ROUTE}/small"
LARGE_PATH = f"/r{REQUESTED_ROUTE}/large"
# nghttpd takes the content type from the file name's extension.
GRPC_PATH = f"/bench.Echo{REQUESTED_ROUTE}/Say.grpc"
LARGE_BYTES = 2**20
GRPC_MESSAGE_BYTES = 128
SMALL_ANSWER = '{"id": 42, "name": "a small answer", "tags": ["about", "a", "hundred", "bytes", "of", "JSON"]}'


def route_prefix(family: Family, index: int) -> str:
    """The path prefix (whole segments) that route `index` of the table matches."""
    return f"/r{index}" if family == "http1" else f"/bench.Echo{index}"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A TCP port on loopback."""

    port: int
    host: str = HOST

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def tool_of(family: Family) -> str:
    """The program that answers behind the proxies."""
    return "nginx" if family == "http1" else "nghttpd"


def start(family: Family, core: int, folder: Path) -> tuple[Process, Address]:
    """Start the backend of `family`; it listens when this returns. Raises StartError."""
    address = Address(processes.free_port())
    root = folder / f"backend-{family}"
    root.mkdir()
    command = _nginx(root, address) if family == "http1" else _nghttpd(root, address)
    process = Process(f"backend-{family}", command, core, root)
    process.wait_for_port(address.port)
    return process, address


def grpc_message() -> bytes:
    """One uncompressed gRPC message: flag, length, payload."""
    return struct.pack(">BI", 0, GRPC_MESSAGE_BYTES) + b"x" * GRPC_MESSAGE_BYTES


def _nginx(root: Path, address: Address) -> list[str]:
    large = root / LARGE_PATH.lstrip("/")
    large.parent.mkdir()
    large.write_bytes(b"x" * LARGE_BYTES)
    config = root / "nginx.conf"
    config.write_text(f"""\
user root;
daemon off;
master_process off;
pid {root}/pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_temp_path {root}/body;
    open_file_cache max=16;
    server {{
        listen {address} backlog=4096;
        root {root};
        location {LARGE_PATH} {{ }}
        location / {{
            default_type application/json;
            return 200 '{SMALL_ANSWER}\\n';
        }}
    }}
}}
""")
    return [_path("nginx"), "-e", "stderr", "-c", str(config)]


def _nghttpd(root: Path, address: Address) -> list[str]:
    answer = root / GRPC_PATH.lstrip("/")
    answer.parent.mkdir()
    answer.write_bytes(grpc_message())
    types = root / "mime.types"
    types.write_text("application/grpc grpc\n")
    return [
        _path("nghttpd"),
        "--no-tls",
        f"--address={address.host}",
        f"--htdocs={root}",
        f"--mime-types-file={types}",
        "--no-content-length",
        "--trailer=grpc-status: 0",
        "--max-concurrent-streams=1000",
        str(address.port),
    ]


def _path(tool: str) -> str:
    return shutil.which(tool) or tool
