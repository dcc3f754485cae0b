"""One sidecar, put together."""

from remora.sidecar.app.sidecar import Sidecar
from remora.sidecar.options import Binding, Options

__all__ = ["Binding", "Options", "Sidecar"]
