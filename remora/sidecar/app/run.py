"""The process of `sidecar run`, or with workers: the parent of its processes."""

from __future__ import annotations

import contextlib
import resource

from remora.sidecar.app.sidecar import Sidecar
from remora.sidecar.options import Options
from remora.sidecar.telemetry.metrics import Metrics

MAX_OPEN_FILES = 2**20
"""Each connection is one. More would only cost a kernel that knows no limit, such as a container's."""


def run(options: Options) -> None:
    """Run a sidecar until it is told to stop. Raises what Sidecar.run does. There must be no loop and no thread yet."""
    _allow_open_files()
    if options.workers == 1:
        import uvloop

        uvloop.run(_serve(options))
    else:
        _run_with_workers(options)


def _allow_open_files() -> None:
    """As many as the hard limit lets us have: the soft one is often 1,024, for the sake of programs with select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS refuses more than kern.maxfilesperproc, whatever the hard limit says.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(options: Options) -> None:
    await Sidecar(options).run()


def _run_with_workers(options: Options) -> None:
    import uvloop

    from remora.sidecar.workers.nursery import Nursery
    from remora.sidecar.workers.pool import WorkerPool
    from remora.sidecar.workers.ports import reserved_ports
    from remora.sidecar.workers.worker import run_worker

    with reserved_ports(options) as found:

        async def serve() -> None:
            metrics = Metrics()
            await Sidecar(options, metrics, WorkerPool(found, nursery, metrics)).run()

        nursery = Nursery.start(lambda end, number: run_worker(found, end, number))
        uvloop.run(serve())
