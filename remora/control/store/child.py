"""A child process that ends with us, however we end.

On Linux the kernel does it: prctl(PR_SET_PDEATHSIG), which must be called in the child. Python's `preexec_fn` would run
it between fork and exec, where a lock held by another thread of ours can hang the child for ever. So a tiny Python
starts first, asks for the signal, and becomes the command by exec: the setting and the process id stay. No helper
lives on, unlike with a watcher process and a pipe. Elsewhere there is no such signal, and only an orderly stop ends the
child.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""  # 1 is PR_SET_PDEATHSIG; a parent that died before the call sends no signal, but is no longer our parent


def ends_with_us(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` (its first word a path) so that SIGTERM reaches it when our process ends.

    Strictly, when the *thread* that started it ends: start it from a thread that lives as long as it should.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command]
