"""The `sidecar` command: flags, and the environment variables that stand for them."""

from remora.sidecar.cli.command import main, make_parser
from remora.sidecar.cli.run_options import options

__all__ = ["main", "make_parser", "options"]
