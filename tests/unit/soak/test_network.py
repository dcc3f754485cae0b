"""The network that the soak runs in."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, socket, sys
from soak import network

def is_reached(address):
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True

def refuse():
    raise PermissionError

if sys.argv[2:] == ["refused"]:
    network._leave = refuse
left = network.leave_others()
with socket.create_server(("127.0.0.1", 0)) as own:
    print(json.dumps([left, is_reached(own.getsockname()), is_reached(("127.0.0.1", int(sys.argv[1])))]))
"""


def leave(*arguments: str) -> list[bool]:
    """Of a process that leaves: whether it did, whether it reaches a port of its own, and one of this process."""
    with socket.create_server(("127.0.0.1", 0)) as ours:
        command = [sys.executable, "-c", SCRIPT, str(ours.getsockname()[1]), *arguments]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: list[bool] = json.loads(said)
    return found


def test_it_is_its_own() -> None:
    left, own, others = leave()
    if not left:
        pytest.skip("no namespace of networks may be made here")
    assert (own, others) == (True, False)


def test_where_it_may_not_be_made_all_stays_as_it_was() -> None:
    assert leave("refused") == [False, True, True]
