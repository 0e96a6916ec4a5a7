"""Shares of stage 1, started by hand in any order or by m3eval: runs of the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.world import World, before, differing, snapshot
from tests.needs import needs

CLASS = "shares of stage 1"
OF = 3  # parts, as the larger corpus has shards


@pytest.fixture
def output(undisturbed, place) -> Path:
    """An output folder with stores alone."""
    return before("search", undisturbed, place / "out")


def share(world: World, output: Path, number: int, *more: str, **options):
    return world.run("search", output, f"runtime.share={number}/{OF}", *more, **options)


def same_in_the_end(world: World, output: Path, undisturbed: Path) -> None:
    """The other stages leave what one process alone leaves, and no part."""
    for stage in ("search", "evaluate"):
        assert world.run(stage, output).status == 0
    assert differing(snapshot(output), snapshot(undisturbed)) == []
    assert list(output.rglob("*.parts")) == []


def test_in_any_order_repeated_and_killed(world, undisturbed, output, tally):
    order = random.Random(1).sample(range(OF), OF)
    with tally.case(f"shares {order}"):
        first, second, last = order
        assert share(world, output, first).status == 0
        again = share(world, output, first)
        assert again.status == 0 and again.out.count("found finished") == 4, str(again)
        assert share(world, output, second).status == 0
        killed = share(world, output, last, fault={"folder": str(output), "at": 12})
        assert killed.status == -signal.SIGKILL, str(killed)
        early = world.run("merge", output)
        said = " ".join(early.out.split())
        assert early.status == 2 and f"lacks 1 of 3 parts: {last}/3." in said, said
        assert share(world, output, last).status == 0
        merged = world.run("merge", output)
        assert merged.status == 0 and merged.out.count("merges 3 parts") == 4, str(merged)
        runs = output / "small/fake/runs"
        assert sorted(path.name for path in runs.iterdir()) == ["dense", "sparse"]
        same_in_the_end(world, output, undisturbed)
    tally.verdict()


def test_stage_1_searches_what_is_missing_and_merges(world, undisturbed, output, tally):
    with tally.case("one share of three is lost, and a list of another is damaged"):
        assert share(world, output, 0).status == 0 and share(world, output, 2).status == 0
        trec = output / "small/fake/runs/dense/en.parts/2-of-3.trec"
        trec.write_text(trec.read_text().replace("en1", "en0", 1))
        refused = world.run("merge", output)
        said = " ".join(refused.out.split())
        assert refused.status == 2 and "lacks 2 of 3 parts: 1/3, 2/3." in said, said
        assert "2-of-3.trec is damaged" in said and "lacks 1 of 3 parts: 1/3." in said
        ended = world.run("search", output)
        assert ended.status == 0, str(ended)
        assert "2 of them searched here" in ended.out and "1 of them searched here" in ended.out
        same_in_the_end(world, output, undisturbed)
    tally.verdict()


def test_parts_of_other_settings_are_not_merged(world, undisturbed, output, tally):
    with tally.case("another depth"):
        for number in range(OF):
            ended = share(world, output, number, "benchmark.retrieval.depth=300")
            assert ended.status == 0, str(ended)
        ended = world.run("search", output)
        assert ended.status == 0 and "merges" not in ended.out, str(ended)
        assert "is used: settings.depth: 300 in the part, " in ended.out, str(ended)
        same_in_the_end(world, output, undisturbed)
    tally.verdict()


def test_several_processes_search_parts(world, undisturbed, output, tally):
    with tally.case("two processes"):
        words = ("runtime.processes=2", "runtime.threads=2")
        ended = world.run("search", output, *words)
        assert ended.status == 0 and ended.out.count("merges 2 parts") == 4, str(ended)
        same_in_the_end(world, output, undisturbed)
    with tally.case("two processes, and runs that are to be replaced"):
        ended = world.run("search", output, "overwrite=true", *words)
        assert ended.status == 0 and ended.out.count("merges 2 parts") == 4, str(ended)
        same_in_the_end(world, output, undisturbed)
    with tally.case("what a process cannot do is said"):
        shutil.rmtree(output / "small/fake/runs")
        dense = next(output.glob("small/fake/stores/corpus-en/shards/00002/dense.npy"))
        content = bytearray(dense.read_bytes())
        content[-1] ^= 1
        dense.write_bytes(content)
        ended = world.run("search", output, *words)
        assert ended.status == 2 and "dense.npy is damaged" in ended.out, str(ended)
    tally.verdict()


@pytest.mark.slow
@needs("ray")
def test_tasks_of_a_cluster_search_parts(world, undisturbed, output, tally):
    with tally.case("two workers"):
        words = ("runtime.executor=ray", "runtime.processes=2", "runtime.threads=2")
        ended = world.run("search", output, *words)
        assert ended.status == 0 and ended.out.count("merges 2 parts") == 4, str(ended)
        same_in_the_end(world, output, undisturbed)
    tally.verdict()
