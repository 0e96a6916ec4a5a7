"""Parts of a corpus, searched by themselves and merged, are one search over all of it."""

from __future__ import annotations

import copy
import itertools
import random
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from m3eval.encoders.ours import Encoder
from m3eval.encoders.representations import Ragged, Representations, TermVectors
from m3eval.layout import RunFiles
from m3eval.retrievers import dense, multi_vector, sparse, term_vectors
from m3eval.retrievers.run import merged, write_run
from m3eval.runtime import Share
from m3eval.stages import search as stage
from m3eval.stages.executors import parts
from m3eval.stages.planning import FLOPS_OF_SEARCH
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan
from tests.retrievers.stored import stored_sources

SIZE, SHARDS, DEPTH = 7, 10, 12
SEARCHES = {
    "dense": lambda sources: dense.search(sources, DEPTH),
    "sparse": lambda sources: sparse.search(sources, DEPTH, "native", "none", False),
    "sparse, frequent tokens dropped": lambda sources: sparse.search(
        sources, DEPTH, "native", "ceil100", True
    ),
    "multi_vector": lambda sources: multi_vector.exhaustive(sources, DEPTH),
    "term_vectors": lambda sources: term_vectors.exhaustive(sources, DEPTH),
}


def written(path, n: int, seed: int) -> Store:
    """A store of shards of 7 texts; numbers are few, so that many scores are equal."""
    kinds = ("dense", "sparse", "multi_vector", "term_vectors")
    writer = StoreWriter(path, replace(store_plan(n, *kinds), shard_size=SIZE))
    rng, shards = np.random.default_rng(seed), writer.start()
    for number, start in enumerate(range(0, n, SIZE)):
        m = min(SIZE, n - start)
        lengths = rng.integers(1, 4, m)
        weights = rng.integers(0, 3, (m, 9)) / 4
        weights[:, 0] = 0.25  # a token that every text has
        representations = Representations(
            dense=rng.integers(-1, 2, (m, 4)).astype(np.float32),
            sparse=scipy.sparse.csr_array(weights.astype(np.float32)),
            multi_vector=Ragged(
                rng.integers(-1, 2, (lengths.sum(), 4)).astype(np.float16),
                np.concatenate([[0], np.cumsum(lengths)]),
            ),
            term_vectors=TermVectors(
                np.concatenate([np.sort(rng.permutation(9)[:length]) for length in lengths]),
                rng.integers(-1, 2, (lengths.sum(), 4)).astype(np.float16),
                np.concatenate([[0], np.cumsum(lengths)]),
            ),
        )
        # Ids fall where rows rise and rise elsewhere: ties are not decided by rows.
        ids = [f"d{(37 * (start + i)) % 997:03d}" for i in range(m)]
        shards.write(number, ids, representations)
    writer.finish()
    return Store(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> tuple[Store, Store]:
    folder = tmp_path_factory.mktemp("partitions")
    return written(folder / "corpus", SIZE * SHARDS - 3, 1), written(folder / "queries", 6, 2)


@pytest.mark.parametrize("of", [3, 4, 10, 13])
@pytest.mark.parametrize("search", SEARCHES)
def test_parts_merged_in_any_order_are_one_search(stores, tmp_path, search, of):
    """Ten shards; of thirteen parts some have none."""
    whole = SEARCHES[search](stored_sources(*stores, 5, tmp_path))
    write_run(RunFiles(tmp_path / "whole.trec"), whole, "tag")
    parts = []
    for number in range(of):
        sources = stored_sources(*stores, 5, tmp_path)
        sources.share = Share(number, of)
        parts.append(SEARCHES[search](sources))
    assert sum(len(part["d000"].docids) for part in parts) > len(whole["d000"].docids)
    assert any(len({*ranking.scores.tolist()}) < len(ranking.docids) for ranking in whole.values())
    orders = itertools.permutations(parts) if of == 3 else [random.Random(0).sample(parts, of)]
    for order in orders:
        write_run(RunFiles(tmp_path / "merged.trec"), merged(order, DEPTH), "tag")
        assert (tmp_path / "merged.trec").read_bytes() == (tmp_path / "whole.trec").read_bytes()


@pytest.mark.parametrize("of", [1, 2, 3, 7, 10, 13])
def test_every_shard_is_of_one_part(stores, of):
    corpus, _ = stores
    parts = [corpus.part(Share(number, of)) for number in range(of)]
    assert [shard for part in parts for shard in part.searched] == list(range(SHARDS))
    rows = [row for part in parts for rows in part.searched_rows for row in rows]
    assert rows == list(range(len(corpus)))
    blocks = [start for part in parts for start, _ in part.dense_blocks(3)]
    assert blocks == [start for start, _ in corpus.dense_blocks(3)]


def test_what_is_encoded_for_a_part_is_what_is_encoded_for_all(pipeline, monkeypatch):
    """Packs of other documents would round otherwise: what shares a request is of one shard."""
    requests: set[tuple[str, ...]] = set()
    stream = Encoder.stream

    def watched(self, texts, wanted):
        def each():
            for request in texts:
                requests.add(tuple(request.ids or ()))
                yield request

        return stream(self, each(), wanted)

    words = ("representations=[dense,sparse]", "retriever=[multi_vector_exhaustive]")
    folder = pipeline("embed", "runtime.shard_size=8", *words)
    monkeypatch.setattr(Encoder, "stream", watched)
    pipeline("search", *words)
    run = folder / "runs/multi_vector_exhaustive/sw.trec"
    whole, of_whole = run.read_bytes(), set(requests)
    shutil.rmtree(folder / "runs")
    requests.clear()
    for number in (1, 0):
        pipeline("search", f"runtime.share={number}/2", *words)
    pipeline("search", *words)
    assert run.read_bytes() == whole
    assert requests == of_whole and len(requests) > 3


def test_rows_of_shards_take_no_memory(stores):
    """An array of them has 8 bytes a document: 8 GB of 10^9, here more than any machine has."""
    corpus = copy.copy(stores[0])
    corpus.starts = corpus.starts * 10**12
    rows = corpus.searched_rows
    assert sum(map(len, rows)) == corpus.starts[-1] and len(rows) == SHARDS


@pytest.mark.parametrize("documents", [2_000_000, 33_000_000, 10**9])
@pytest.mark.parametrize("threads", [1, 8])
def test_more_parts_than_are_worth_it_take_longer(documents, threads):
    compared, depth = 2048 * documents, 1000

    def seconds(of: int) -> float:
        searching = compared / (FLOPS_OF_SEARCH * threads)
        return searching / of + depth * of * parts.LINE_MERGED

    best = min(range(parts.FEW, 2000), key=seconds)
    found = parts.worth(compared, depth, threads)
    assert abs(found - best) <= 1 and found <= 300
    assert parts.worth(10, depth, threads) == parts.FEW


@pytest.mark.parametrize(
    "name, of",
    [("dense", 8), ("sparse", 8), ("exhaustive", 60), ("both", 60), ("few", 5), ("of others", 60)],
)
def test_what_is_soon_searched_is_cut_into_few_parts(monkeypatch, name, of):
    """Sixty-four processes; vectors of single tokens are searched by all whom shards suffice."""
    retrievers = {
        "dense": SimpleNamespace(stored=("dense",)),
        "sparse": SimpleNamespace(stored=("sparse",)),
        "exhaustive": SimpleNamespace(stored=("multi_vector",)),
        "of others": SimpleNamespace(stored=()),  # nobody knows what it takes
    }
    setup: Any = SimpleNamespace(
        cfg=SimpleNamespace(overwrite=False),
        runtime=SimpleNamespace(processes=64, threads=64, executor="local"),
        retrieval=SimpleNamespace(depth=1000),
        retrievers=retrievers,
    )
    names = {"both": ["dense", "exhaustive"], "few": ["exhaustive"]}.get(name, [name])
    shards = 5 if name == "few" else 60
    language: Any = SimpleNamespace(
        are_finished=lambda names: False,
        sources=SimpleNamespace(corpus=Corpus(shards)),
    )
    asked: list[int] = []
    monkeypatch.setattr(stage.search_share, "searched_in_parts", lambda setup: names)
    monkeypatch.setattr(parts, "in_processes", lambda setup, of: asked.append(of))
    stage.spread(setup, [language])
    assert asked == [of]


class Corpus:
    """As much of a store as is asked how many parts it is worth."""

    def __init__(self, shards: int) -> None:
        self.shards = [None] * shards
        self.manifest = SimpleNamespace(bytes={"dense": 2**30, "sparse": 2**30})
