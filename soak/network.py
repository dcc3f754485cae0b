"""A network of the soak's own: a namespace of Linux, with nothing in it but loopback.

Apps and sidecars are killed, and for as long as the lease of one lasts the mesh still calls its port. On a network that
others use as well, one of them may have got that port by then, and would answer.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
"""CLONE_NEWUSER, CLONE_NEWNET (linux/sched.h)."""
_SET_FLAGS, _UP = 0x8914, 1
"""SIOCSIFFLAGS (linux/sockios.h), IFF_UP (linux/if.h)."""
_REQUEST = struct.Struct("16sh22x")
"""struct ifreq: name, flags, padding."""


def leave_others() -> bool:
    """Move this process, and those that it will start, to a network of their own; False where that may not be done.

    Before any thread is started, which would stay behind.
    """
    if sys.platform != "linux":
        return False
    # Half of it would be worse than nothing, and there is no way back: a child tries first.
    child = os.fork()
    if not child:
        os._exit(0 if _left() else 1)
    return os.waitpid(child, 0)[1] == 0 and _left()


def _left() -> bool:
    try:
        _leave()
    except OSError:
        return False
    return True


def _leave() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_NEW_NET)
    except PermissionError:
        # In a namespace of users that is its own, a process may do more.
        _unshare(_NEW_USER | _NEW_NET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, _REQUEST.pack(b"lo", _UP))


def _unshare(namespaces: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(namespaces):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
