"""The demo must say so when something does not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from demo.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, _verdict
from demo.processes import Family
from demo.screen import Screen, StepFailedError
from demo.story import Story
from demo.tally import Kind


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
async def story(tmp_path: Path, screen: Screen) -> AsyncIterator[Story]:
    async with aiohttp.ClientSession() as session:
        story = Story(Family(tmp_path, tmp_path), tmp_path, screen, session)
        story.tally.succeeded(Kind.PAGE, 0.0, [])
        yield story


async def test_success_takes_every_step_and_every_request(story: Story, screen: Screen) -> None:
    async with screen.step("a step"):
        pass
    assert _verdict(story, screen, told=True) == 0


async def test_a_step_that_does_not_hold_fails_the_demo(
    story: Story, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepFailedError):
        async with screen.step("a step"):
            raise StepFailedError("half of them should be green; seen: none")
    assert _verdict(story, screen, told=True) == EXIT_FAILED
    said = capsys.readouterr().out
    assert "✗ a step" in said
    assert "half of them should be green; seen: none" in said
    assert "did not hold: a step" in said


async def test_one_failed_request_fails_its_step_and_the_demo(story: Story, screen: Screen) -> None:
    with pytest.raises(StepFailedError, match=r"1 requests failed, see .*failures\.log: .*status 503"):
        async with story._watched("a step"):
            story.tally.failed(Kind.PAGE, 0.0, "status 503")
    assert screen.failed_steps == ["a step"]
    assert _verdict(story, screen, told=True) == EXIT_FAILED


async def test_an_interrupted_story_has_not_held(story: Story, screen: Screen) -> None:
    assert _verdict(story, screen, told=False) == EXIT_INTERRUPTED
