"""`python -m demo [--once]`"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import shutil
import signal
import sys
from pathlib import Path

import aiohttp

from demo.processes import ChildError, Family
from demo.screen import Screen, StepFailedError
from demo.story import Story

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".remora" / "demo"

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

IN_FLIGHT = "No quotes instance is killed: no mesh can carry on a stream that has begun when its instance dies."


def main() -> int:
    """Tells the story; 0 when every step held, 1 when one did not, 130 when interrupted before the end."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="A whole mesh on this machine, under load.")
    parser.add_argument("--once", action="store_true", help="stop at the end of the story instead of at Ctrl-C")
    once = parser.parse_args().once
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"demo: another demo runs in {FOLDER}; stop that one first", file=sys.stderr)
            return EXIT_FAILED
        return asyncio.run(_demo(once))


async def _demo(once: bool) -> int:
    for old in ("etcd", "state"):
        shutil.rmtree(FOLDER / old, ignore_errors=True)
    interrupted = _interruption()
    family = Family(FOLDER, ROOT)
    try:
        async with aiohttp.ClientSession() as session:
            with Screen() as screen:
                screen.say(f"A mesh on this machine; logs are in {FOLDER}")
                return await _tell(Story(family, FOLDER, screen, session), family, screen, interrupted, once)
    finally:
        family.kill()


async def _tell(story: Story, family: Family, screen: Screen, interrupted: asyncio.Event, once: bool) -> int:
    telling = asyncio.create_task(story.tell(), name="tell")
    waiting = asyncio.create_task(interrupted.wait(), name="wait for Ctrl-C")
    try:
        await asyncio.wait({telling, waiting}, return_when=asyncio.FIRST_COMPLETED)
        told = telling.done() and _finished(telling)
        if told and not once:
            _invite(story, screen)
            await waiting
    finally:
        for task in (telling, waiting):
            task.cancel()
        await asyncio.wait({telling, waiting})
        await story.end()
        complaints = await family.stop()
    for complaint in complaints:
        screen.say(complaint, "yellow")
    return _verdict(story, screen, told)


def _finished(telling: asyncio.Task[None]) -> bool:
    """Whether the story came to its end; a step that had to hold may have ended it early, which was said."""
    try:
        telling.result()
    except (StepFailedError, ChildError):
        return False
    return True


def _verdict(story: Story, screen: Screen, told: bool) -> int:
    screen.say(IN_FLIGHT, "dim")
    if story.held and told:
        screen.say(f"Every step held: {story.tally.requests} requests, none failed.", "bold green")
        return 0
    for title in screen.failed_steps:
        screen.say(f"did not hold: {title}", "red")
    if story.tally.failures:
        screen.say(f"{story.tally.failures} requests failed; all about them is in {story.tally.failures_log}", "red")
    return EXIT_FAILED if screen.failed_steps or story.tally.failures else EXIT_INTERRUPTED


def _invite(story: Story, screen: Screen) -> None:
    """Where to look, until Ctrl-C."""
    client, parts, pod = story.client, story.mesh.parts, story.mesh.pods[0]
    command = f"{_beside_python('control')} {{}} --control {parts.control_url}"
    explain = f"{_beside_python('sidecar')} explain"
    route = FOLDER / "reviews-route.yaml"
    places = (
        ("a page of the shop", f"curl http://{client.outbound['shop']}/products/mask"),
        ("reviews alone", f"curl http://{client.outbound['reviews']}/reviews/mask"),
        ("why it goes there", f"{explain} GET http://reviews/reviews/mask --admin {client.admin}"),
        ("control, for people", command.format("status")),
        ("another canary", f"edit the weights in {route}, then {command.format(f'apply -f {route}')}"),
        (f"admin of {pod.name}", f"http://{pod.admin}/status, /clusters, /config"),
        (f"metrics of {pod.name}", f"http://{pod.metrics}/metrics"),
        ("admin of the client", f"http://{client.admin}/clusters"),
        ("metrics of control", f"{parts.control_url}/metrics"),
        ("etcd", f"{parts.etcd_url}, keys under /mesh/demo/"),
    )
    lines = [f"  {what:<22} {where}" for what, where in places]
    screen.say("\n".join(["", "The mesh runs on, with load, until Ctrl-C. Look at it:", *lines, ""]))


def _beside_python(command: str) -> str:
    """The command as people can type it: with the path of this Python's folder when that is where it is."""
    path = Path(sys.executable).parent / command
    return str(path) if path.exists() else command


def _interruption() -> asyncio.Event:
    """Set at Ctrl-C, SIGTERM and when the terminal goes away. What follows is bounded, so once is enough."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, interrupted.set)
    return interrupted


if __name__ == "__main__":
    sys.exit(main())
