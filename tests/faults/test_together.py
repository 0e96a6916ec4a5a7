"""Two and three processes at once: each ends well or says who writes; nothing is mixed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.faults.world import STAGES, Ended, World, before, differing, snapshot, write_lines

CLASS = "two and three processes at once"
slow = pytest.mark.slow
SOME = pytest.mark.parametrize(
    "point", [5, *(pytest.param(n, marks=slow) for n in (0, 1, 12, 25, 50))]
)


def ended_well(*all_ended: Ended) -> None:
    """Done, or one sentence that names the process that writes."""
    for ended in all_ended:
        assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
        if ended.status == 2:
            assert "process" in ended.out.partition("Error: ")[2], str(ended)


def stopped(world: World, command: str, output: Path, point: int, *more: str) -> int:
    """A command that waits at a step, as if the system gave it no time; its process."""
    fault = {"folder": str(output), "at": point, "act": "stop"}
    pid = world.zygote.start(command, *world.words(output, *more), fault=fault)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "TZ":
            return pid
        time.sleep(0.005)
    raise AssertionError(f"process {pid} never came to step {point}")


def gone_or_waiting(world: World, pid: int) -> str:
    """What a process has printed once it has ended or says for whom it waits."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        out = world.zygote.outs[pid]
        printed = out.read_text() if out.exists() else ""  # it may not have begun
        if state == "Z" or " waiting: " in printed:
            return printed
        time.sleep(0.005)
    raise AssertionError(f"process {pid} neither ended nor waits")


def one_within_another(
    world: World, undisturbed: Path, output: Path, first: int, command: str, *more: str
) -> tuple[Ended, Ended]:
    """A second command comes while the first is stopped: it goes, or waits. The first goes on."""
    second = world.zygote.start(command, *world.words(output, *more))
    gone_or_waiting(world, second)
    os.kill(first, signal.SIGCONT)
    ended = (world.zygote.wait(first), world.zygote.wait(second))
    ended_well(*ended)
    assert world.run("run", output).status == 0
    assert differing(snapshot(output), snapshot(undisturbed)) == []
    return ended


def harmed(output: Path, undisturbed: Path) -> list[str]:
    """What differs of all that one corpus alone leaves; what another adds beside it is no harm."""
    right = snapshot(undisturbed)
    now = snapshot(output)
    return differing({name: now.get(name, b"") for name in right}, right)


@pytest.fixture(scope="module")
def others(world, memory) -> World:
    """A world whose corpora have the same ids and other texts."""
    other = World(memory / "others", world.zygote)
    shutil.copytree(world.root, other.root)
    for file in other.root.glob("*/corpus.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        texts = [row["text"] for row in rows]
        moved = zip(rows, texts[1:] + texts[:1], strict=True)
        write_lines(file, (json.dumps(row | {"text": text}) for row, text in moved))
    return other


@SOME
@pytest.mark.parametrize("stage", STAGES)
def test_one_comes_while_another_is_within(world, undisturbed, place, tally, stage, point):
    """The first is stopped at a step; the second comes and goes, or waits; the first goes on."""
    output = before(stage, undisturbed, place / "out")
    with tally.case(f"{stage} while {stage} is at step {point}"):
        first = stopped(world, stage, output, point)
        ended = one_within_another(world, undisturbed, output, first, stage)
        if stage == "search":
            assert [each.status for each in ended] == [0, 0], ended
    tally.verdict()


def test_who_comes_second_to_a_run_says_for_whom_it_waits(world, undisturbed, place, tally):
    """Both succeed; what the first made the second finds finished."""
    output = before("search", undisturbed, place / "out")
    with tally.case("a second stage 1"):
        first = stopped(world, "search", output, 12)
        second = world.zygote.start("search", *world.words(output))
        said = f"waiting: The run {output}/small/fake/runs/all/en.trec is being written by process"
        assert f"{said} {first} on" in gone_or_waiting(world, second)
        os.kill(first, signal.SIGCONT)
        ended = (world.zygote.wait(first), world.zygote.wait(second))
        assert [each.status for each in ended] == [0, 0], ended
        assert ended[1].out.count("waiting: ") == 1
        assert ended[1].out.count("found finished") == 12 and "  written  " not in ended[1].out
        assert world.run("evaluate", output).status == 0
        assert differing(snapshot(output), snapshot(undisturbed)) == []
    tally.verdict()


@SOME
def test_two_corpora_under_one_name(world, others, undisturbed, place, tally, point):
    """Of two stage 0 with different corpora one wins whole; the other says so."""
    output = place / "out"
    with tally.case(f"another corpus comes at step {point}"):
        pid = stopped(world, "embed", output, point)
        second = others.run("embed", output)
        os.kill(pid, signal.SIGCONT)
        first = world.zygote.wait(pid)
        for ended in (first, second):
            assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
        assert (first.status, second.status) in ((0, 2), (2, 0)), (first, second)
        winner, loser = (world, others) if first.status == 0 else (others, world)
        assert loser.run("search", output).status == 2
        assert winner.run("run", output).status == 0
        if winner is world:
            assert harmed(output, undisturbed) == []
    tally.verdict()


@pytest.mark.parametrize("n", [3, pytest.param(2, marks=slow)])
@pytest.mark.parametrize("command", ["run", pytest.param("embed", marks=slow)])
def test_several_begin_together(world, undisturbed, place, tally, n, command):
    for attempt in range(3):
        output = place / f"out{attempt}"
        with tally.case(f"{n} times {command}, attempt {attempt}"):
            pids = [world.zygote.start(command, *world.words(output)) for _ in range(n)]
            ended = [world.zygote.wait(pid) for pid in pids]
            ended_well(*ended)
            assert any(each.status == 0 for each in ended), str(ended)
            assert world.run("run", output).status == 0
            assert differing(snapshot(output), snapshot(undisturbed)) == []
    tally.verdict()


@SOME
def test_two_searches_of_other_retrievers(world, undisturbed, place, tally, point):
    """They share a folder and its scratch, and both succeed."""
    output = before("search", undisturbed, place / "out")
    with tally.case(f"sparse comes while bm25s is at step {point}"):
        first = stopped(world, "search", output, point, "retriever=[dense,bm25s]")
        words = ("search", "retriever=[sparse]")
        ended = one_within_another(world, undisturbed, output, first, *words)
        assert [each.status for each in ended] == [0, 0], ended
    tally.verdict()


@SOME
def test_a_replacement_is_stopped(world, others, undisturbed, place, tally, point):
    """overwrite=true that is killed has destroyed nothing, and goes on where it was."""
    output = Path(shutil.copytree(undisturbed, place / "out"))
    with tally.case(f"overwrite=true killed at step {point}"):
        fault = {"folder": str(output), "at": point}
        ended = others.run("embed", output, "overwrite=true", fault=fault)
        assert ended.status == -signal.SIGKILL, str(ended)
        old = world.run("run", output)
        assert old.status == 0, str(old)
        assert harmed(output, undisturbed) == []
        again = others.run("embed", output, "overwrite=true")
        assert again.status == 0, str(again)
        assert not [path for name in (".*.new", "*.part") for path in output.rglob(name)]
        assert others.run("embed", output).status == 0
    tally.verdict()
