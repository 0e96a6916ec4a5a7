"""Who encodes does not matter: stores of the same bytes from several processes, read once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3eval.benchmarks.texts import TextSet
from m3eval.config import Setup, compose, tree
from m3eval.stages import workers
from m3eval.stores.writer import StoreWriter
from tests.faults.world import CONF, World, differing, snapshot
from tests.records import store_plan

CLASS = "several who encode"


def stores(output) -> dict[str, bytes]:
    """The stores of an output folder."""
    return {name: it for name, it in snapshot(output).items() if "/stores/" in name}


@pytest.mark.parametrize("n", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_several_processes_give_the_same_stores(world: World, undisturbed, place, tally, n):
    """Five have more room than there are shards of some sets."""
    with tally.case(f"{n} processes"):
        words = [f"runtime.processes={n}", f"runtime.threads={n}"]
        ended = world.run("embed", place / "out", *words)
        assert ended.status == 0, str(ended)
        assert differing(stores(place / "out"), stores(undisturbed)) == []
    tally.verdict()


def test_the_texts_are_read_once_and_by_one_process(world: World, place, tally):
    """The others could not read them: there is no benchmark where their configuration says."""
    read: list[str] = []

    def texts():
        for i in range(20):
            read.append(f"d{i}")
            yield f"d{i}", f"text number {i}"

    with tree.added(str(CONF)):
        root = f"benchmark.root={place / 'nowhere'}"
        words = world.words(place / "out", root, "runtime.processes=3", "runtime.threads=3")
        setup = Setup(compose(*words[: words.index("--config-dir")]))
    plan = replace(store_plan(20, "dense"), shard_size=3)
    writer = StoreWriter(place / "store", plan)
    with tally.case("three processes"):
        corpus = TextSet("corpus-en", "document", texts, 64)
        costs = workers.encode(setup, [(corpus, writer.start())], lambda work, count: None)
        assert read == [f"d{i}" for i in range(20)]
        assert writer.finish().shards == [3] * 6 + [2]
        assert costs["corpus-en"].tokens == 60
    tally.verdict()


def test_a_process_that_is_killed_is_said_and_nothing_is_lost(
    world: World, undisturbed, place, tally
):
    die = place / "die"
    die.mkdir()
    (die / "en5").touch()  # the first text of a shard
    with tally.case("a process of two is killed"):
        words = ["runtime.processes=2", "runtime.threads=2"]
        environment = {"M3EVAL_DIE": str(die)}
        ended = world.run("embed", place / "out", *words, environment=environment)
        assert ended.status == 2 and "ended with status -9" in ended.out, str(ended)
        assert not list(die.iterdir())
        again = world.run("embed", place / "out", *words, environment=environment)
        assert again.status == 0, str(again)
        assert differing(stores(place / "out"), stores(undisturbed)) == []
    tally.verdict()
