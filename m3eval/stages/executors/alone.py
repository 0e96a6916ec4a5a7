"""Shards encoded by this process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from m3eval.config import Setup
from m3eval.encoders.encoder import Request
from m3eval.manifests import StoreCost
from m3eval.stages.shards import Done, OnProgress, Shard, wanted_of
from m3eval.threads import behind


def in_this_process(
    setup: Setup, shards: Iterator[Shard], on_progress: OnProgress
) -> Iterator[Done]:
    """An `Executor`: one thread reads and tokenises the next shard, one writes the shard before."""
    under_way: dict[int, Shard] = {}  # by number of the request
    runtime, before = str(setup.runtime), time.monotonic()

    def tell(number: int, rows: np.ndarray) -> None:
        on_progress(under_way[number].work[rows].sum(), len(rows))

    def requests(same: Iterator[Shard]) -> Iterator[Request]:
        for number, shard in enumerate(same):
            under_way[number] = shard
            yield shard.request

    with behind() as later:
        for representations, same in itertools.groupby(shards, lambda each: each.representations):
            wanted = replace(wanted_of(setup, representations), on_pack=tell)
            results = setup.encoder.stream(requests(same), wanted)
            for number, result in enumerate(results):
                shard = under_way.pop(number)
                later(shard.write, result)
                now = time.monotonic()
                attention = setup.encoder.attention
                cost = StoreCost(result.tokens, now - before, runtime, attention)
                yield Done(shard.text_set, cost)
                before = now
