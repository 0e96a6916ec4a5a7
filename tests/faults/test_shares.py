"""Shares of stage 0, started by hand in any order: stores of the same bytes, whatever happens."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from m3eval.config import compose
from m3eval.runtime import Share
from m3eval.stages.shards import in_share
from tests.faults.test_together import stopped
from tests.faults.world import World, differing, snapshot

CLASS = "shares of stage 0"
OF = 4
STEPS = 172  # of share 1; from 80 to 145 it writes three shards


def points(*quick: int, slow: Iterable[int]) -> pytest.MarkDecorator:
    """A test at some of the steps of a share, and at more of them among the slow tests."""
    more = [pytest.param(n, marks=pytest.mark.slow) for n in slow]
    return pytest.mark.parametrize("point", [*quick, *more])


def share(world: World, output: Path, number: int, **options):
    return world.run("embed", output, f"runtime.share={number}/{OF}", **options)


def whole(undisturbed: Path) -> dict[str, bytes]:
    """The stores that one process alone leaves."""
    return {name: it for name, it in snapshot(undisturbed).items() if "/stores/" in name}


def merged(world: World, output: Path, undisturbed: Path) -> None:
    """Merging succeeds and leaves what one process alone leaves, and nothing else."""
    ended = world.run("merge", output)
    assert ended.status == 0, str(ended)
    stores = {name: it for name, it in snapshot(output).items() if "/stores/" in name}
    assert differing(stores, whole(undisturbed)) == []
    assert list(output.rglob("*.sharing")) == []


def tokens(output: Path) -> dict[str, int]:
    """What the costs of each store say was encoded."""
    costs = output.glob("small/fake/stores/*/cost.json")
    return {path.parent.name: json.loads(path.read_text())["tokens"] for path in costs}


@pytest.mark.parametrize("of", [1, 2, 3, 4, 8])
def test_every_shard_is_of_one_share(of):
    names = [f"{kind}-{language}" for kind in ("corpus", "queries") for language in ("en", "sw")]
    for name, number in itertools.product(names, range(30)):
        shares = [Share(i, of) for i in range(of)]
        assert [in_share(each, name, number) for each in shares].count(True) == 1
    assert in_share(None, "corpus-en", 7)


@pytest.mark.parametrize("of", [2, 4])
def test_sets_of_one_shard_are_spread_over_the_shares(of):
    """Corpora and queries each by themselves, or some shares would have all that takes long."""
    languages = compose("benchmark=miracl").benchmark.source.languages
    for kind in ("corpus", "queries"):
        names = [f"{kind}-{language}" for language in languages]
        for number in range(of):
            own = [name for name in names if in_share(Share(number, of), name, 0)]
            assert 2 <= len(own) <= 2 * len(names) / of
    alike = [
        in_share(Share(0, of), f"corpus-{each}", 0) == in_share(Share(0, of), f"queries-{each}", 0)
        for each in languages
    ]
    assert not all(alike)


def test_in_any_order_repeated_and_killed(world, undisturbed, place, tally):
    orders = random.Random(0).sample([*itertools.permutations(range(OF))], 3)
    for order in orders:
        output = place / "".join(map(str, order))
        with tally.case(f"shares {order}"):
            first, second, *rest = order
            for number in (first, first, second):
                assert share(world, output, number).status == 0
            early = world.run("merge", output)
            assert early.status == 2 and " lacks " in early.out, str(early)
            killed = share(world, output, rest[0], fault={"folder": str(output), "at": 20})
            assert killed.status == -signal.SIGKILL, str(killed)
            for number in rest:
                assert share(world, output, number).status == 0
            merged(world, output, undisturbed)
            assert tokens(output).keys() == tokens(undisturbed).keys()
            again = share(world, output, first)
            assert again.status == 0 and again.out.count("found finished") == 4, str(again)
    tally.verdict()


@points(0, 40, 80, 95, slow=range(1, STEPS, 7))
def test_a_share_that_is_killed_is_made_again(world, undisturbed, place, tally, point):
    output = place / "out"
    with tally.case(f"killed at step {point}"):
        killed = share(world, output, 1, fault={"folder": str(output), "at": point})
        assert killed.status in (0, -signal.SIGKILL), str(killed)
        for number in range(OF):
            assert share(world, output, number).status == 0
        merged(world, output, undisturbed)
    tally.verdict()


def test_a_share_of_several_processes_and_merging_by_language(world, undisturbed, place, tally):
    """What keeps many devices busy: a reader for each node, and merging where several do it."""
    output = place / "out"
    with tally.case("two shares of two processes"):
        several = ["runtime.processes=2", "runtime.threads=2"]
        for number in range(2):
            ended = world.run("embed", output, f"runtime.share={number}/2", *several)
            assert ended.status == 0, str(ended)
        ended = world.run("merge", output, "languages=[sw]")
        assert ended.status == 0, str(ended)
        finished = {path.parent.name for path in output.glob("small/fake/stores/*/manifest.json")}
        assert finished == {"corpus-sw", "queries-sw"}
        merged(world, output, undisturbed)
    tally.verdict()


def test_all_shares_at_once(world, undisturbed, place, tally):
    output = place / "out"
    with tally.case("four at once"):
        words = [world.words(output, f"runtime.share={number}/{OF}") for number in range(OF)]
        pids = [world.zygote.start("embed", *each) for each in words]
        ended = [world.zygote.wait(pid) for pid in pids]
        assert [each.status for each in ended] == [0] * OF, str(ended)
        merged(world, output, undisturbed)
        assert tokens(output) == tokens(undisturbed)
    tally.verdict()


@points(10, 92, slow=range(0, STEPS, 7))
def test_one_share_twice_at_once(world, undisturbed, place, tally, point):
    """Whoever comes second to a shard finds the same there."""
    output = place / "out"
    with tally.case(f"again while it is at step {point}"):
        pid = stopped(world, "embed", output, point, f"runtime.share=1/{OF}")
        second = share(world, output, 1)
        os.kill(pid, signal.SIGCONT)
        first = world.zygote.wait(pid)
        assert (first.status, second.status) == (0, 0), (first, second)
        for number in (0, 2, 3):
            assert share(world, output, number).status == 0
        merged(world, output, undisturbed)
    tally.verdict()


def test_nobody_finishes_or_replaces_what_a_share_writes(world, undisturbed, place, tally):
    output = place / "out"
    with tally.case("others while a share is at work"):
        pid = stopped(world, "embed", output, 20, f"runtime.share=1/{OF}")
        for command in ("merge", "embed"):
            refused = world.run(command, output)
            said = f"is being written by process {pid}"
            assert refused.status == 2 and said in refused.out, str(refused)
            assert "m3eval embed runtime.share=1/4" in refused.out
        os.kill(pid, signal.SIGCONT)
        assert world.zygote.wait(pid).status == 0
    with tally.case("a share while a whole stage 0 is at work"):
        pid = stopped(world, "embed", place / "whole", 20)
        refused = share(world, place / "whole", 0)
        assert refused.status == 2 and f"written by process {pid}" in refused.out, str(refused)
        os.kill(pid, signal.SIGCONT)
        assert world.zygote.wait(pid).status == 0
        assert (
            differing(
                {n: it for n, it in snapshot(place / "whole").items() if "/stores/" in n},
                whole(undisturbed),
            )
            == []
        )
    tally.verdict()


def test_every_missing_shard_is_named_and_a_whole_stage_0_makes_them(
    world, undisturbed, place, tally
):
    output = place / "out"
    with tally.case("shards that are not there or are damaged"):
        for number in range(OF):
            assert share(world, output, number).status == 0
        shards = output / "small/fake/stores/corpus-en/shards"
        shutil.rmtree(shards / "00001")
        (shards / "00002/ids.txt").write_text("en10\nen1\n")
        queries = output / "small/fake/stores/queries-sw/shards/00000"
        shutil.rmtree(queries)
        refused = world.run("merge", output)
        assert refused.status == 2, str(refused)
        said = " ".join(refused.out.split())
        assert "corpus-en lacks 2 of 3 shards: 00001, 00002." in said, said
        assert "queries-sw lacks 1 of 1 shards: 00000." in said
        assert "00002/ids.txt is damaged" in said
        made = world.run("embed", output)
        assert made.status == 0, str(made)
        merged(world, output, undisturbed)
    tally.verdict()


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("embed", "overwrite=true"),
        ("embed", "repair=true"),
        ("search", "overwrite=true"),
        ("search", "retriever=[bm25s]"),
        ("merge", ""),
        ("run", ""),
    ],
)
def test_what_a_share_does_not_go_with_is_said(world, place, tally, command, word):
    words = [f"runtime.share=0/{OF}", *filter(None, [word])]
    with tally.case(f"{command} {word}"):
        refused = world.run(command, place / "out", *words)
        assert refused.status == 2 and "runtime.share=0/4" in refused.out, str(refused)
        assert not (place / "out/small").exists()
    tally.verdict()


def test_shares_of_other_corpora_are_never_mixed(world, place, memory, tally):
    """The other's ids are the same, its texts are not."""
    other = World(memory / "others-of-shares", world.zygote)
    shutil.copytree(world.root, other.root, dirs_exist_ok=True)
    for file in other.root.glob("*/corpus.jsonl"):
        file.write_text(file.read_text().replace('"text": "', '"text": "ba '))
    output = place / "out"
    with tally.case("another corpus"):
        assert share(world, output, 0).status == 0
        refused = share(other, output, 1)
        assert refused.status == 2 and "was made otherwise" in refused.out, str(refused)
        refused = other.run("merge", output)
        assert refused.status == 2 and "was made otherwise" in refused.out, str(refused)
    tally.verdict()
