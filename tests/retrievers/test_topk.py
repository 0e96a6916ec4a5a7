"""Exact searches give the same run for every size of block and number of threads, with ties."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
import scipy.sparse
import torch

from m3eval.encoders.representations import Representations
from m3eval.retrievers import dense, sparse
from m3eval.retrievers.run import rank
from m3eval.retrievers.topk import TopK, above_at_once, above_by_rows
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan
from tests.retrievers.stored import stored_sources

N, Q, WIDTH, VOCABULARY = 700, 70, 8, 30
DOCIDS = [f"d{i * 37 % N}" for i in range(N)]  # in no order


def brute(matrix, depth, found=None):
    """Docids and scores of every query by sorting all of a matrix [queries, documents]."""
    lists = []
    for q, row in enumerate(matrix):
        candidates = np.arange(N) if found is None else np.flatnonzero(found[q])
        order = candidates[rank([DOCIDS[i] for i in candidates], row[candidates], depth)]
        lists.append(([DOCIDS[i] for i in order], row[order].tolist()))
    return lists


def lists(run):
    return [(ranking.docids, ranking.scores.tolist()) for ranking in run.values()]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Small whole numbers: scores are exact in float32, and hundreds of documents share them."""
    rng = np.random.default_rng(0)
    made = {}
    for name, n, ids in (("corpus", N, DOCIDS), ("queries", Q, [f"q{i}" for i in range(Q)])):
        vectors = rng.integers(-1, 2, (n, WIDTH)).astype(np.float32)
        weights = scipy.sparse.random_array(
            (n, VOCABULARY), density=0.1, rng=rng, format="csr", dtype=np.float32
        )
        weights.data = rng.integers(1, 3, len(weights.data)).astype(np.float32)
        path = tmp_path_factory.mktemp(name)
        plan = store_plan(n, "dense", "sparse")
        writer = StoreWriter(path, plan)
        into = writer.start()
        for i, rows in enumerate(np.split(np.arange(n), [1, n // 3])):
            into.write(
                i,
                [ids[row] for row in rows],
                Representations(vectors[rows], weights[rows]),
            )
        writer.finish()
        made[name] = (Store(path), vectors, weights)
    return made


@pytest.mark.parametrize("depth", [1, 13, 400, 1000])
@pytest.mark.parametrize(("block", "threads"), [(10_000, 1), (97, 1), (97, 3), (7, 4), (1, 2)])
def test_equals_brute_force(stores, tmp_path, block, threads, depth):
    (_, documents, lexical), (_, queries, asked) = stores["corpus"], stores["queries"]
    opened = [stores[name][0] for name in ("corpus", "queries")]
    world = stored_sources(*opened, block, tmp_path, threads=threads)
    assert lists(dense.search(world, depth)) == brute(queries @ documents.T, depth)
    matrix = (asked @ lexical.T).toarray()
    assert lists(sparse.search(world, depth, "native", "none", False)) == brute(
        matrix, depth, matrix > 0
    )


class Vectors:
    """What `best_whole` reads of a store."""

    def __init__(self, vectors):
        self.vectors = vectors

    def __len__(self):
        return len(self.vectors)

    def dense_blocks(self, size):
        for start in range(0, len(self), size):
            yield start, self.vectors[start : start + size]


@pytest.mark.parametrize(("converted", "together"), [(2048, 1024), (64, 16), (1, 7)])
def test_dense_agrees_with_faiss_on_real_numbers(monkeypatch, converted, together):
    monkeypatch.setattr(dense, "CONVERTED", converted)
    monkeypatch.setattr(dense, "QUERIES", together)
    rng = np.random.default_rng(1)
    documents, queries = (rng.normal(size=(n, 64)).astype(np.float32) for n in (3000, 40))
    index = faiss.IndexFlatIP(64)
    index.add(documents)
    scores, rows = index.search(queries, 100)
    best = dense.best_whole(torch.from_numpy(queries), Vectors(documents), 100, 700)
    run = best.run([str(i) for i in range(40)], lambda found: {int(row): str(row) for row in found})
    for i, ranking in enumerate(run.values()):
        assert set(ranking.docids) == set(map(str, rows[i]))
        np.testing.assert_allclose(ranking.scores, scores[i], rtol=1e-5)


def test_threads_may_add_in_any_order():
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 5, (3, 5000)).astype(np.float32)
    best = TopK(3, 50)

    def add(rows):
        for q in (0, 1, 2):
            kept = rows[scores[q, rows] >= best.bars[q]]
            best.add(q, np.array([0, len(kept)]), kept, scores[q, kept])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, np.split(rng.permutation(5000), 100)))
    ids = [f"{i:04d}" for i in range(5000)]
    run = best.run(["a", "b", "c"], lambda rows: {int(row): ids[row] for row in rows})
    for q, ranking in enumerate(run.values()):
        assert ranking.docids == [ids[i] for i in rank(ids, scores[q], 50)]


def test_memory_is_bounded_by_depth_and_ties():
    best = TopK(1, 10)
    for start in range(0, 100_000, 100):
        best.add(
            0,
            np.array([0, 100]),
            np.arange(start, start + 100),
            np.arange(start, start + 100, dtype=np.float32),
        )
        assert sum(map(len, best._rows[0])) <= 20


@pytest.mark.parametrize("gaps", [False, True])
def test_processors_and_accelerators_find_the_same(gaps):
    """Rows may have gaps between them in memory; a query may have none, or all."""
    whole = torch.from_numpy(np.random.default_rng(0).random((4, 90), np.float32))
    scores = whole[:, :60] if gaps else whole[:, :60].contiguous()
    bars = torch.tensor([0.9, 2.0, float(scores[2].min()), 0.5])
    cuts, columns, values = above_by_rows(scores, bars)
    for one, other in zip((cuts, columns, values), above_at_once(scores, bars), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.diff(cuts).tolist() == [int((scores[i] >= bars[i]).sum()) for i in range(4)]
    assert np.diff(cuts)[1] == 0 and np.diff(cuts)[2] == 60
    for i in range(4):
        part = slice(cuts[i], cuts[i + 1])
        np.testing.assert_array_equal(values[part], scores[i].numpy()[columns[part]])
