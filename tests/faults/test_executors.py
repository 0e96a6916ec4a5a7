"""Who encodes does not matter: stores of the same bytes from several processes, read once."""

from __future__ import annotations

import pytest

from tests.faults.world import World, differing, snapshot

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
