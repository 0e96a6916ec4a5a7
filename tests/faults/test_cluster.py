"""Ray: stores of the same bytes from one worker and from two, and where workers are killed."""

from __future__ import annotations

import time

import pytest

from tests.faults.test_executors import stores
from tests.faults.world import ROOT, World, differing
from tests.needs import imported, needs

CLASS = "tasks of a cluster"
# A cluster takes 5 seconds of a core to start.
pytestmark = [needs("ray"), pytest.mark.slow]


WAIT = "RAY_raylet_start_wait_time_s"  # 30 seconds by itself: too few on a busy machine


def words(workers: int) -> list[str]:
    return [
        "runtime.executor=ray",
        f"runtime.processes={workers}",
        f"runtime.threads={workers}",
        "runtime.shard_size=2",
    ]


@pytest.fixture(scope="module")
def in_small_shards(world: World, memory):
    """What one process alone gives, of 16 shards."""
    output = memory / "in_small_shards"
    assert world.run("embed", output, "runtime.shard_size=2").status == 0
    return output


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_stores(world: World, in_small_shards, place, tally, workers):
    with tally.case(f"{workers} workers"):
        ended = world.run("embed", place / "out", *words(workers))
        assert ended.status == 0, str(ended)
        assert differing(stores(place / "out"), stores(in_small_shards)) == []
    tally.verdict()


def test_shares_of_several_workers_give_the_same_stores(
    world: World, in_small_shards, place, tally
):
    """Each of them reads its own shards: many workers have more than one reader."""
    with tally.case("two shares of two workers"):
        for number in range(2):
            own = [*words(2), f"runtime.share={number}/2"]
            ended = world.run("embed", place / "out", *own)
            assert ended.status == 0, str(ended)
        ended = world.run("merge", place / "out", "runtime.shard_size=2")
        assert ended.status == 0, str(ended)
        assert differing(stores(place / "out"), stores(in_small_shards)) == []
    tally.verdict()


def test_workers_that_are_killed_are_replaced(world: World, in_small_shards, place, tally):
    die = place / "die"
    die.mkdir()
    for first in ("en2", "en8", "sw4", "q2"):  # the first texts of shards; q2 is in both languages
        (die / first).touch()
    with tally.case("four workers are killed"):
        environment = {"M3EVAL_DIE": str(die)}
        ended = world.run("embed", place / "out", *words(2), environment=environment)
        assert ended.status == 0, str(ended)
        assert not list(die.iterdir())  # each was killed
        assert differing(stores(place / "out"), stores(in_small_shards)) == []
    tally.verdict()


def test_one_of_two_nodes_is_lost(world: World, in_small_shards, place, tally, monkeypatch):
    """Each node has room for one task, and both are at one when a node goes."""
    cluster_utils = imported("ray.cluster_utils")
    die = place / "die"
    die.mkdir()
    held = [die / f"{first}.hold" for first in ("en2", "sw4")]
    for file in held:
        file.touch()
    for name, value in {"M3EVAL_DIE": str(die), "PYTHONPATH": str(ROOT), WAIT: "300"}.items():
        monkeypatch.setenv(name, value)
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        with tally.case("a node of two is lost"):
            address = f"runtime.address={cluster.address}"
            given = world.words(place / "out", *words(1), address)
            pid = world.zygote.start("embed", *given)
            reached = [file.with_suffix(".reached") for file in held]
            deadline = time.monotonic() + 300
            while not all(file.exists() for file in reached):
                assert time.monotonic() < deadline, "the tasks never began"
                time.sleep(0.1)
            cluster.remove_node(node, allow_graceful=False)
            for file in held:
                file.unlink()
            ended = world.zygote.wait(pid)
            assert ended.status == 0, str(ended)
            assert differing(stores(place / "out"), stores(in_small_shards)) == []
    finally:
        cluster.shutdown()
    tally.verdict()


def test_an_error_of_a_task_is_one_sentence(world: World, place, tally):
    with tally.case("no cluster at an address"):
        address = "runtime.address=127.0.0.1:1"
        ended = world.run("embed", place / "out", *words(1), address)
        assert ended.status == 2 and "no cluster at runtime.address=127.0.0.1:1" in ended.out
        assert "Traceback" not in ended.out
    tally.verdict()
