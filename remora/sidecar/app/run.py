"""The process of `sidecar run`, or with workers: the parent of its processes."""

from __future__ import annotations

from remora.sidecar.app.sidecar import Sidecar
from remora.sidecar.options import Options
from remora.sidecar.telemetry.metrics import Metrics


def run(options: Options) -> None:
    """Run a sidecar until it is told to stop. Raises what Sidecar.run does. There must be no loop and no thread yet."""
    if options.workers == 1:
        import uvloop

        uvloop.run(_serve(options))
    else:
        _run_with_workers(options)


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
            await Sidecar(found, metrics, WorkerPool(found, nursery, metrics)).run()

        nursery = Nursery.start(lambda end, number: run_worker(found, end, number))
        uvloop.run(serve())
