"""Shards beyond 100,000, whose names have six digits; and two who write one shard."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.layout import StoreFiles
from m3eval.manifests import StorePlan
from m3eval.stores.shard_writer import ShardWriter
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan

MANY = 100_002


def write(into: ShardWriter, number: int, texts: int, value: float = 1.0) -> None:
    dense = np.full((texts, 4), value, np.float32)
    ids = [f"d{number}-{row}" for row in range(texts)]
    into.write(number, ids, Representations(dense, tokens=texts, truncated=0))


def test_shards_are_in_the_order_of_their_numbers(tmp_path):
    files = StoreFiles(tmp_path / "store")
    numbers = [0, 7, 99_999, 100_000, 100_001]
    for number in reversed(numbers):
        files.shard(number).mkdir(parents=True)
    assert files.written_shards() == [files.shard(number) for number in numbers]


@pytest.mark.slow
def test_shards_beyond_100_000_keep_their_counts(tmp_path):
    """The last two have two and three texts: by name, the second to the last would be another."""
    writer = StoreWriter(tmp_path / "store", store_plan(MANY + 3, "dense"))
    into = writer.start()
    sizes = [1] * (MANY - 2) + [2, 3]
    write(into, 0, 1)
    first = into.files.shard(0)
    for number in range(1, MANY - 2):  # the same files under more names: quick to make
        folder = into.files.shard(number)
        folder.mkdir()
        for file in first.iterdir():
            os.link(file, folder / file.name)
    for number in (MANY - 1, MANY - 2):
        write(into, number, sizes[number])
    assert writer.finish().shards == sizes
    store = Store(tmp_path / "store")
    assert store.ids_of(np.array([MANY - 2, MANY, MANY + 2])) == {
        MANY - 2: f"d{MANY - 2}-0",
        MANY: f"d{MANY - 1}-0",
        MANY + 2: f"d{MANY - 1}-2",
    }


def write_all(folder: Path, plan: StorePlan, value: float, begin) -> None:
    into = ShardWriter(StoreFiles(folder), plan)
    begin.wait()
    for number in range(20):
        write(into, number, 3, value)


def both(folder: Path, *values: float) -> list[int | None]:
    """Two processes write the same shards at the same time; their exit statuses."""
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(2)
    plan = store_plan(60, "dense")
    processes = [
        context.Process(target=write_all, args=(folder, plan, value, begin)) for value in values
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_two_who_write_the_same_shards_both_succeed(tmp_path):
    assert both(tmp_path / "store", 1.0, 1.0) == [0, 0]
    shards = StoreFiles(tmp_path / "store").shards
    assert sorted(path.name for path in shards.iterdir()) == [f"{i:05d}" for i in range(20)]
    StoreWriter(tmp_path / "store", store_plan(60, "dense")).finish()
    assert len(Store(tmp_path / "store")) == 60


def test_what_a_lost_worker_was_writing_is_gone_from_a_finished_store(tmp_path):
    """One of a cluster may be lost after others began, and its shard is made elsewhere."""
    writer = StoreWriter(tmp_path / "store", store_plan(3, "dense"))
    into = writer.start()
    left = into.files.shards / ".00000.4711-0123abcd.part"
    left.mkdir(parents=True)
    (left / "dense.npy").write_bytes(b"half")
    write(into, 0, 3)
    writer.finish()
    assert list(into.files.shards.iterdir()) == [into.files.shard(0)]


def test_who_comes_second_with_another_shard_is_told(tmp_path):
    into = ShardWriter(StoreFiles(tmp_path / "store"), store_plan(3, "dense"))
    write(into, 0, 3)
    before = {path.name: path.read_bytes() for path in into.files.shard(0).iterdir()}
    with pytest.raises(UserError, match=r"00000 was written by another process .* not the same"):
        write(into, 0, 3, 2.0)
    assert {path.name: path.read_bytes() for path in into.files.shard(0).iterdir()} == before
    assert list(into.files.shards.iterdir()) == [into.files.shard(0)]
