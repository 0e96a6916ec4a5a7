"""Killed at any step and run again: the outputs are those of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.faults.world import STAGES, before, differing, snapshot

CLASS = "killed or interrupted, run again"
# Steps of the three stages, cut into so many shares; the first of them is the quick one.
SHARES = 15
POINTS = 300
slow = pytest.mark.slow
shares = [pytest.param(i, marks=[slow] if i else []) for i in range(SHARES)]


@pytest.fixture(scope="session")
def steps(world, memory) -> int:
    """How many steps the three stages take in one process."""
    file = memory / "steps"
    fault = {"folder": str(memory / "counted"), "at": -1, "steps": str(file)}
    assert world.run("run", memory / "counted", fault=fault).status == 0
    return file.stat().st_size


def leftovers(output: Path) -> list[str]:
    """What should be gone: temporary files, plans, indexes."""
    return [
        str(path)
        for pattern in ("*.part", "plan.json", "scratch/*")
        for path in output.rglob(pattern)
    ]


@pytest.mark.parametrize("share", shares)
def test_killed_at_a_step(world, undisturbed, steps, place, tally, share):
    """The n-th file that is opened, written to disk, renamed, removed, or the n-th line printed."""
    right = snapshot(undisturbed)
    points = sorted({i * steps // POINTS for i in range(POINTS)})[share::SHARES]
    for point in points:
        act = "interrupt" if point % 4 == 3 else "kill"
        with tally.case(f"{act} at step {point} of {steps}"):
            output = place / f"at{point}"
            fault = {"folder": str(output), "at": point, "act": act}
            ended = world.run("run", output, fault=fault)
            # A printed line is no place for an interruption: those points are others' steps then.
            assert ended.status in ((130, 0) if act == "interrupt" else (-signal.SIGKILL,)), str(
                ended
            )
            assert "Traceback" not in ended.out, str(ended)
            again = world.run("run", output)
            assert again.status == 0, str(again)
            assert differing(snapshot(output), right) == []
            assert leftovers(output) == []
    tally.verdict()


@pytest.mark.parametrize("stage", STAGES)
def test_killed_twice(world, undisturbed, place, tally, stage):
    """Killed, killed again at a later step of the same stage, then left alone."""
    right = snapshot(undisturbed)
    for point in (3, 11):
        with tally.case(f"{stage} killed twice at {point}"):
            output = before(stage, undisturbed, place / f"{stage}{point}")
            for at in (point, point + 5):
                fault = {"folder": str(output), "at": at}
                assert world.run(stage, output, fault=fault).status == -signal.SIGKILL
            again = world.run("run", output)
            assert again.status == 0, str(again)
            assert differing(snapshot(output), right) == []
    tally.verdict()


@pytest.mark.parametrize("point", [2, *(pytest.param(n, marks=slow) for n in range(3, 27))])
@pytest.mark.parametrize("who", ["worker", pytest.param("parent", marks=slow)])
def test_one_of_several_processes_is_killed(world, undisturbed, place, tally, who, point):
    """A process of stage 0 that is killed stops the stage, with words; a parent takes all along."""
    output = place / "out"
    several = "runtime.processes=2"
    settings = {"folder": str(output), "at": point}
    with tally.case(f"{who} killed at step {point}"):
        if who == "worker":
            environment = {"M3EVAL_FAULT": os.fspath(place / "fault.json")}
            (place / "fault.json").write_text(json.dumps(settings))
            ended = world.run("embed", output, several, environment=environment)
            assert ended.status == 2 and "ended with status -9" in ended.out, str(ended)
        else:
            ended = world.run("embed", output, several, fault=settings)
            assert ended.status == -signal.SIGKILL, str(ended)
        for again in (world.run("embed", output, several), world.run("run", output)):
            assert again.status == 0, str(again)
        assert differing(snapshot(output), snapshot(undisturbed)) == []
        assert leftovers(output) == []
    tally.verdict()
