"""One sidecar, put together."""

from remora.sidecar.app.run import run
from remora.sidecar.app.sidecar import Sidecar, WorkersLostError
from remora.sidecar.options import Binding, Options

__all__ = ["Binding", "Options", "Sidecar", "WorkersLostError", "run"]
