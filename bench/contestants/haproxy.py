"""HAProxy: one thread, connections reused, statistics on."""

from __future__ import annotations

import shutil
import subprocess

from bench import processes
from bench.backends import Address, Family
from bench.contestants import base
from bench.contestants.base import Job, Running


class Haproxy:
    name = "HAProxy"
    families: tuple[Family, ...] = ("http1", "h2")
    most_workers = base.ANY_NUMBER

    def missing(self) -> str:
        return "" if shutil.which("haproxy") else "haproxy is not installed (apt-get install haproxy)"

    def version(self) -> str:
        said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
        return said.split()[2]

    def start(self, job: Job) -> Running:
        port = processes.free_port()
        config = job.folder / f"haproxy.{port}.cfg"
        config.write_text(configuration(job, Address(port)))
        command = [shutil.which("haproxy") or "haproxy", "-db", "-q", "-f", str(config)]
        return base.start_with("haproxy", job, port, lambda: command)


def configuration(job: Job, listen: Address) -> str:
    """haproxy.cfg for a job."""
    proto = " proto h2" if job.family == "h2" else ""
    rules = "\n".join(f"    use_backend bench if {{ path_beg {prefix}/ }}" for prefix in job.route_prefixes())
    watch = f"check inter 10s observe layer7 error-limit {base.OUTLIER_FAILURES} on-error mark-down"
    codes = " ".join(str(code) for code in base.RETRY_CODES)
    return f"""\
global
    nbthread {job.workers}
    maxconn {base.DOWNSTREAM_CONNECTIONS}
    no strict-limits
defaults
    mode http
    timeout client {base.IDLE_TIMEOUT_S}s
    timeout connect {base.CONNECT_TIMEOUT_S}s
    timeout server {base.REQUEST_TIMEOUT_S}s
    retries {base.RETRIES}
    option redispatch
    retry-on conn-failure empty-response {codes}
    http-reuse always
frontend main
    bind {listen}{proto} backlog 4096
    stats enable
    http-request track-sc0 int(1) table rates
    http-request deny deny_status 429 if {{ sc0_http_req_rate gt {base.RATE_LIMIT} }}
    http-request return status 503 if {{ req.hdr({base.FAULT_HEADER}) -m found }}
{rules}
backend rates
    stick-table type integer size 1k store http_req_rate(1s)
backend bench
    balance leastconn
    server one {job.upstream}{proto} maxconn {base.UPSTREAM_CONNECTIONS} {watch}
"""
