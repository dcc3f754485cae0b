"""nginx as a reverse proxy: one worker, keep-alive upstream, stub_status on."""

from __future__ import annotations

import shutil
import subprocess

from bench import processes
from bench.backends import Address, Family
from bench.contestants import base
from bench.contestants.base import Job, Running


class Nginx:
    name = "nginx"
    families: tuple[Family, ...] = ("http1", "h2")
    most_workers = base.ANY_NUMBER

    def missing(self) -> str:
        return "" if shutil.which("nginx") else "nginx is not installed (apt-get install nginx-light)"

    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]

    def start(self, job: Job) -> Running:
        port = processes.free_port()
        root = job.folder / f"nginx.{port}"
        root.mkdir()
        config = root / "nginx.conf"
        config.write_text(configuration(job, Address(port), str(root)))
        command = [shutil.which("nginx") or "nginx", "-e", "stderr", "-c", str(config)]
        return base.start_with("nginx", job, port, lambda: command)


def configuration(job: Job, listen: Address, root: str) -> str:
    """nginx.conf for a job; `root` takes its temporary files."""
    http2 = " http2" if job.family == "h2" else ""
    return f"""\
user root;
daemon off;
worker_processes {job.workers};
pid {root}/pid;
error_log stderr crit;
events {{ worker_connections {base.DOWNSTREAM_CONNECTIONS + base.UPSTREAM_CONNECTIONS}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout {base.IDLE_TIMEOUT_S}s;
    client_max_body_size 64m;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    limit_req_zone $server_name zone=all:64k rate={base.RATE_LIMIT}r/s;
    upstream bench {{
        server {job.upstream} max_conns={base.UPSTREAM_CONNECTIONS} max_fails={base.OUTLIER_FAILURES};
        keepalive {base.UPSTREAM_CONNECTIONS};
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen}{http2} backlog=4096;
        limit_req zone=all burst={base.RATE_LIMIT} nodelay;
        if ($http_{base.FAULT_HEADER.replace("-", "_")}) {{ return 503; }}
        location = /stub_status {{ stub_status; }}
{_locations(job)}
    }}
}}
"""


def _locations(job: Job) -> str:
    kind = "grpc" if job.family == "h2" else "proxy"
    extra = "" if job.family == "h2" else 'proxy_http_version 1.1; proxy_set_header Connection "";'
    codes = " ".join(f"http_{code}" for code in base.RETRY_CODES)
    body = f"""{{
            {kind}_pass {"grpc" if job.family == "h2" else "http"}://bench;
            {kind}_connect_timeout {base.CONNECT_TIMEOUT_S}s;
            {kind}_read_timeout {base.REQUEST_TIMEOUT_S}s;
            {kind}_next_upstream error timeout {codes};
            {kind}_next_upstream_tries {base.RETRIES + 1};
            {extra}
        }}"""
    return "\n".join(f"        location {prefix}/ {body}" for prefix in job.route_prefixes())
