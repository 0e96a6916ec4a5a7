"""Retrievers over small random stores against brute force over everything at once."""

import numpy as np
import pytest
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representations
from m3eval.errors import UserError
from m3eval.retrievers import dense, hybrid, multi_vector, scores, sparse
from m3eval.retrievers.run import Ranking, rank
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan
from tests.retrievers.stored import stored_sources

DOCUMENTS, QUERIES, WIDTH, VOCABULARY = 300, 9, 16, 80
PLAIN = ("native", "none", False)  # engine, quantise, drop_everywhere_tokens


def make(path, n, prefix, shards, seed, everywhere=None):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors = rng.normal(size=(n, WIDTH)).astype(np.float16).astype(np.float32)
    if n == DOCUMENTS:
        vectors[100:200] = vectors[0]  # a hundred equal documents
    lexical = scipy.sparse.random_array(
        (n, VOCABULARY), density=0.05, rng=rng, format="csr", dtype=np.float32
    )
    lexical.data = np.ceil(lexical.data * 4) / 4  # ties
    if everywhere is not None:
        lexical = lexical.tolil()
        lexical[:, everywhere] = 1.0
        lexical = lexical.tocsr()
    multi = rng.normal(size=(offsets[-1], WIDTH)).astype(np.float16)
    writer = StoreWriter(path, store_plan(n, "dense", "multi_vector", "sparse"))
    into = writer.start()
    for i, rows in enumerate(np.array_split(np.arange(n), shards)):
        part = Ragged(
            multi[offsets[rows[0]] : offsets[rows[-1] + 1]],
            offsets[rows[0] : rows[-1] + 2] - offsets[rows[0]],
        )
        into.write(
            i,
            [f"{prefix}{row:03d}" for row in rows],
            Representations(vectors[rows], lexical[rows], part),
        )
    writer.finish()
    return Store(path), vectors, lexical, Ragged(multi, offsets)


@pytest.fixture(params=[(1, 1000), (4, 30)], ids=["one block", "many blocks"])
def world(request, tmp_path):
    shards, block = request.param
    corpus = make(tmp_path / "corpus", DOCUMENTS, "d", shards, 0)
    queries = make(tmp_path / "queries", QUERIES, "q", 1, 1)
    runs = {}
    sources = stored_sources(corpus[0], queries[0], block, tmp_path / "scratch", runs)
    return sources, runs, corpus[1:], queries[1:]


def expect(run, matrix, depth, found=None):
    """The run is the one order of a full matrix of scores [queries, documents]."""
    docids = [f"d{i:03d}" for i in range(DOCUMENTS)]
    for q, ranking in enumerate(run.values()):
        candidates = np.arange(DOCUMENTS) if found is None else found[q]
        order = candidates[rank([docids[i] for i in candidates], matrix[q, candidates], depth)]
        assert ranking.docids == [docids[i] for i in order]
        np.testing.assert_allclose(ranking.scores, matrix[q, order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [10, 250, 1000])
def test_dense(world, depth):
    sources, _, (documents, *_), (queries, *_) = world
    run = dense.search(sources, depth)
    matrix = queries.astype(float) @ documents.astype(float).T
    docids = [f"d{i:03d}" for i in range(DOCUMENTS)]
    for q, ranking in enumerate(run.values()):
        assert len(ranking.docids) == min(depth, DOCUMENTS)
        there = {docid: matrix[q, i] for i, docid in enumerate(docids)}
        np.testing.assert_allclose(
            ranking.scores, [there[docid] for docid in ranking.docids], atol=1e-5
        )
        np.testing.assert_allclose(ranking.scores, np.sort(matrix[q])[::-1][:depth], atol=1e-5)


@pytest.mark.parametrize("depth", [3, 20, 1000])
def test_sparse_with_ties(world, depth):
    sources, _, (_, documents, _), (_, queries, _) = world
    matrix = (queries @ documents.T).toarray()
    expect(
        sparse.search(sources, depth, *PLAIN),
        matrix,
        depth,
        [np.flatnonzero(row) for row in matrix],
    )


@pytest.mark.parametrize("rule", ["ceil100", "ceil100_fp16"])
def test_sparse_quantised(world, rule):
    sources, _, (_, documents, _), (_, queries, _) = world
    whole = [
        scores.quantise(matrix.toarray().astype(np.float16), rule).astype(int)
        for matrix in (queries, documents)
    ]
    matrix = (whole[0] @ whole[1].T) / 1e4
    expect(
        sparse.search(sources, 20, "native", rule, False),
        matrix,
        20,
        [np.flatnonzero(row) for row in matrix],
    )


def test_sparse_without_tokens_that_every_document_has(world, tmp_path):
    """A token of a query that every document has: all is as if no query had it."""
    sources, _, (_, documents, _), (_, queries, _) = world
    token = int(queries.indices[0])
    sources.corpus = make(tmp_path / "full", DOCUMENTS, "d", 3, 0, everywhere=token)[0]
    found = sparse.search(sources, 1000, "native", "none", False)
    assert any(len(ranking.docids) == DOCUMENTS for ranking in found.values())
    asked = queries.tolil()
    asked[:, token] = 0
    matrix = (asked.tocsr() @ documents.T).toarray()
    expect(
        sparse.search(sources, 20, "native", "none", True),
        matrix,
        20,
        [np.flatnonzero(row) for row in matrix],
    )


def maxsim_of(queries, documents):
    """[queries, documents] by the definition, a pair at a time."""
    return np.array(
        [
            [
                np.mean((queries[q].astype(float) @ documents[p].astype(float).T).max(1))
                for p in range(DOCUMENTS)
            ]
            for q in range(QUERIES)
        ]
    )


def test_multi_vector_scores_the_dense_candidates(world):
    sources, runs, (*_, documents), (*_, queries) = world
    runs["dense"] = dense.search(sources, 100)
    run = multi_vector.search(sources, ["dense"], 20)
    matrix = maxsim_of(queries, documents)
    candidates = [
        np.array([int(docid[1:]) for docid in ranking.docids[:20]])
        for ranking in runs["dense"].values()
    ]
    expect(run, matrix, 20, candidates)


@pytest.mark.parametrize("depth", [1, 20, 1000])
def test_multi_vector_exhaustive_scores_every_document(world, depth):
    sources, _, (*_, documents), (*_, queries) = world
    expect(multi_vector.exhaustive(sources, depth), maxsim_of(queries, documents), depth)


def test_union_gives_zero_for_what_a_run_lacks(world):
    sources, runs, *_ = world
    runs["dense"], runs["sparse"] = dense.search(sources, 5), sparse.search(sources, 5, *PLAIN)
    run = hybrid.union(sources, ["dense", "sparse"], {"dense": 1.0, "sparse": 0.3}, 7)
    for qid, ranking in run.items():
        one, two = (
            dict(zip(r.docids, r.scores, strict=True))
            for r in (runs["dense"][qid], runs["sparse"][qid])
        )
        fused = {
            docid: one.get(docid, 0) + 0.3 * two.get(docid, 0) for docid in one.keys() | two.keys()
        }
        assert ranking.scores == pytest.approx(sorted(fused.values(), reverse=True)[:7], abs=1e-5)
        assert all(
            fused[docid] == pytest.approx(score, abs=1e-5)
            for docid, score in zip(ranking.docids, ranking.scores, strict=True)
        )
        assert set(ranking.components) == {"dense", "sparse"}
    with pytest.raises(UserError, match="needs a weight for each"):
        hybrid.union(sources, ["dense", "sparse"], {"dense": 1.0}, 7)


def test_rescore_takes_true_scores_of_all_three(world):
    sources, runs, (documents, lexical, _), (queries, query_lexical, _) = world
    runs["dense"] = dense.search(sources, 100)
    runs["multi_vector"] = multi_vector.search(sources, ["dense"], 20)
    weights = {"dense": 0.15, "sparse": 0.5, "multi_vector": 0.35}
    run = hybrid.rescore(sources, ["dense", "multi_vector"], weights, 20)
    dots, matches = (
        queries.astype(float) @ documents.astype(float).T,
        (query_lexical @ lexical.T).toarray(),
    )
    for q, (qid, ranking) in enumerate(run.items()):
        assert set(ranking.docids) == set(runs["multi_vector"][qid].docids)
        maxsims = dict(
            zip(runs["multi_vector"][qid].docids, runs["multi_vector"][qid].scores, strict=True)
        )
        for docid, score in zip(ranking.docids, ranking.scores, strict=True):
            p = int(docid[1:])
            assert score == pytest.approx(
                0.15 * dots[q, p] + 0.5 * matches[q, p] + 0.35 * maxsims[docid], abs=1e-4
            )
        np.testing.assert_allclose(
            ranking.scores, scores.weighted_sum(ranking.components, weights), rtol=1e-6
        )
    assert any(ranking.components["sparse"].any() for ranking in run.values())


def test_queries_without_candidates_stay_empty(world):
    sources, runs, *_ = world
    runs["dense"] = {qid: Ranking([], np.empty(0, np.float32)) for qid in sources.queries.ids}
    runs["multi_vector"] = multi_vector.search(sources, ["dense"], 20)
    weights = {"dense": 1.0, "sparse": 0.3, "multi_vector": 1.0}
    for run in (
        runs["multi_vector"],
        hybrid.rescore(sources, ["dense", "multi_vector"], weights, 20),
    ):
        assert list(run) == sources.queries.ids and not any(
            ranking.docids for ranking in run.values()
        )
