"""Who hands shards to the tasks of a cluster keeps none of their texts. Ray itself is not asked."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from m3eval.content import Content
from m3eval.encoders.encoder import Request
from m3eval.layout import StoreFiles
from m3eval.manifests import StoreCost
from m3eval.stages.executors import cluster
from m3eval.stages.shards import Shard
from m3eval.stores.shard_writer import ShardWriter
from tests.records import store_plan

WORKERS, SHARDS, TEXTS = 3, 20, 4


class Texts(list[str]):
    """A list that says whether anybody holds it."""


def cluster_of(workers: int) -> Any:
    """What `in_tasks` asks of the module ray; tasks are done in the order in which they began."""
    task = SimpleNamespace(remote=lambda words, shard: shard.number)
    results = {number: StoreCost(number, 1.0, "CPU") for number in range(SHARDS)}
    return SimpleNamespace(
        remote=lambda **takes: lambda function: task,
        put=lambda words: "words",
        cluster_resources=lambda: {"CPU": float(workers)},
        wait=lambda references, timeout: (references[:1], references[1:]),
        get=results.__getitem__,
        shutdown=lambda: None,
        exceptions=SimpleNamespace(RayTaskError=ArithmeticError, RayError=LookupError),
    )


def test_shards_under_way_keep_no_texts(tmp_path, monkeypatch):
    runtime = SimpleNamespace(device="cpu", address=None, threads=1, processes=WORKERS)
    setup: Any = SimpleNamespace(runtime=runtime)
    monkeypatch.setattr(cluster, "connected", lambda runtime: cluster_of(WORKERS))
    monkeypatch.setattr(cluster, "config", lambda setup: {})
    held: list[weakref.ref[Texts]] = []
    most, told, read = 0, [], 0

    def shards() -> Iterator[Shard]:
        nonlocal most, read
        writer = ShardWriter(StoreFiles(tmp_path), store_plan(TEXTS, "dense"))
        for number in range(SHARDS):
            most, read = max(most, sum(each() is not None for each in held)), number + 1
            texts = Texts(f"text {number} {i}" for i in range(TEXTS))
            held.append(weakref.ref(texts))
            ids = [f"d{number}-{i}" for i in range(TEXTS)]
            content = Content.of(zip(ids, texts, strict=True), TEXTS * number, 8)
            request = Request(texts, "document", 8, ids)
            del texts
            yield Shard("corpus-xx", writer, number, request, np.full(TEXTS, 2.0), content)
            del request

    done = cluster.in_tasks(setup, shards(), lambda work, texts: told.append((work, texts)))
    costs = []
    for each in done:
        costs.append(each)
        assert read <= len(costs) + cluster.AHEAD * WORKERS  # no more is read than there is room
    assert [each.cost.tokens for each in costs] == [*range(SHARDS)]
    assert told == [(2.0 * TEXTS, TEXTS)] * SHARDS
    assert most == 0  # when a shard is read, no text of another is held
