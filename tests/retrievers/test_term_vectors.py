"""Terms with vectors: stores give back what went in, and both searches equal brute force."""

import json

import numpy as np
import pytest
import scipy.sparse

from m3eval.encoders.representations import Representations, TermVectors
from m3eval.errors import UserError
from m3eval.retrievers import scores as maths
from m3eval.retrievers import sparse, term_vectors
from m3eval.retrievers.run import Ranking, rank, read_run
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.encoders.checkpoints import METADATA, save_mlm
from tests.records import store_plan
from tests.retrievers.stored import stored_sources

DOCUMENTS, QUERIES, WIDTH, VOCABULARY = 300, 9, 5, 80


def texts_of(found: TermVectors) -> list[dict[int, np.ndarray]]:
    """Term -> vector of each text."""
    cuts = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    return [
        dict(zip(found.terms[a:b].tolist(), found.vectors[a:b].astype(float), strict=True))
        for a, b in cuts
    ]


def random_terms(n, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, n)
    terms = [np.sort(rng.choice(VOCABULARY, count, replace=False)) for count in counts]
    # Some scores are 0 though terms match.
    vectors = np.maximum(rng.normal(size=(counts.sum(), WIDTH)), 0).astype(np.float16)
    return TermVectors(
        np.concatenate(terms).astype(np.int32), vectors, np.concatenate([[0], np.cumsum(counts)])
    )


def some_of(found, first, last):
    low, high = found.offsets[first], found.offsets[last]
    return TermVectors(
        found.terms[low:high], found.vectors[low:high], found.offsets[first : last + 1] - low
    )


def make(path, n, prefix, shards, seed):
    found = random_terms(n, seed)
    if n == DOCUMENTS:  # a hundred equal documents, for ties
        one = some_of(random_terms(20, 7), 3, 4)
        before, after = some_of(found, 0, 100), some_of(found, 200, n)
        counts = np.concatenate(
            [np.diff(before.offsets), np.full(100, len(one.terms)), np.diff(after.offsets)]
        )
        parts = [(side.terms, side.vectors) for side in (before, *[one] * 100, after)]
        found = TermVectors(
            *map(np.concatenate, zip(*parts, strict=True)), np.concatenate([[0], np.cumsum(counts)])
        )
        assert len(one.terms) > 1
    weights = (
        np.random.default_rng(seed + 9)
        .uniform(0.1, 1, len(found.terms))
        .astype(np.float16)
        .astype(np.float32)
    )
    lexical = scipy.sparse.csr_array(
        (weights, found.terms, found.offsets.astype(np.int32)), shape=(n, VOCABULARY)
    )
    writer = StoreWriter(path, store_plan(n, "sparse", "term_vectors"))
    into = writer.start()
    for i, rows in enumerate(np.array_split(np.arange(n), shards)):
        part = some_of(found, rows[0], rows[-1] + 1)
        ids = [f"{prefix}{row:03d}" for row in rows]
        into.write(i, ids, Representations(sparse=lexical[rows], term_vectors=part, tokens=1))
    writer.finish()
    return Store(path), found, lexical


@pytest.fixture(params=[(1, 1000), (4, 30)], ids=["one block", "many blocks"])
def world(request, tmp_path, monkeypatch):
    shards, block = request.param
    monkeypatch.setattr(term_vectors, "DOCUMENTS_AT_ONCE", block)
    corpus, queries = (
        make(tmp_path / "corpus", DOCUMENTS, "d", shards, 0),
        make(tmp_path / "queries", QUERIES, "q", 1, 1),
    )
    runs = {}
    sources = stored_sources(corpus[0], queries[0], block, tmp_path / "scratch", runs)
    return sources, runs, corpus, queries


def brute_force(queries, documents):
    """Scores [q, p], and which share a term."""
    asked, found = texts_of(queries), texts_of(documents)
    shared = np.array([[bool(q.keys() & p.keys()) for p in found] for q in asked])
    return np.array(
        [[sum(q[t] @ p[t] for t in q.keys() & p.keys()) for p in found] for q in asked]
    ), shared


def expect(ranking, scores, candidates, depth):
    docids = [f"d{i:03d}" for i in range(DOCUMENTS)]
    order = candidates[
        rank([docids[i] for i in candidates], scores[candidates].astype(np.float32), depth)
    ]
    np.testing.assert_allclose(ranking.scores, scores[order], rtol=1e-5, atol=1e-6)
    exact = dict(zip(docids, scores, strict=True))
    np.testing.assert_allclose(
        [exact[docid] for docid in ranking.docids], ranking.scores, rtol=1e-5, atol=1e-6
    )
    for earlier, later, a, b in zip(
        ranking.docids, ranking.docids[1:], ranking.scores, ranking.scores[1:], strict=False
    ):
        assert a > b or (a == b and earlier > later)


@pytest.mark.parametrize("depth", [10, 150, 1000])
def test_exhaustive(world, depth):
    sources, _, (_, documents, _), (_, queries, _) = world
    scores, shared = brute_force(queries, documents)
    assert ((scores == 0) & shared).any() and not shared.all()
    run = term_vectors.exhaustive(sources, depth)
    assert list(run) == [f"q{i:03d}" for i in range(QUERIES)]
    for q, ranking in enumerate(run.values()):
        assert len(ranking.docids) == min(depth, shared[q].sum())
        expect(ranking, scores[q], np.flatnonzero(shared[q]), depth)


@pytest.mark.parametrize(("k", "depth"), [(5, 3), (40, 1000), (1000, 1000)])
def test_two_stage(world, k, depth):
    sources, runs, (_, documents, _), (_, queries, _) = world
    runs["sparse"] = sparse.search(sources, 1000, "native", "none", False)
    scores, _ = brute_force(queries, documents)
    run = term_vectors.two_stage(sources, ["sparse"], k, depth)
    for q, (qid, ranking) in enumerate(run.items()):
        candidates = runs["sparse"][qid].docids[:k]
        assert set(ranking.docids) <= set(candidates) and len(ranking.docids) == min(
            depth, len(candidates)
        )
        expect(ranking, scores[q], np.array([int(docid[1:]) for docid in candidates], int), depth)
    if k == 1000:  # all that share a term are candidates: the two searches are one
        other = term_vectors.exhaustive(sources, depth)
        for qid in run:
            assert sorted(run[qid].docids) == sorted(other[qid].docids)
            np.testing.assert_allclose(run[qid].scores, other[qid].scores, rtol=1e-6)


def test_two_stage_without_candidates(world):
    sources, runs, *_ = world
    runs["sparse"] = {qid: Ranking([], np.empty(0, np.float32)) for qid in sources.queries.ids}
    assert all(
        not ranking.docids for ranking in term_vectors.two_stage(sources, ["sparse"], 5, 5).values()
    )


@pytest.mark.parametrize("numbers", [1, 16_000_000])
def test_scores_of_pairs(numbers, monkeypatch):
    monkeypatch.setattr(maths, "NUMBERS_AT_ONCE", numbers)
    queries, documents = random_terms(7, 3), random_terms(11, 4)
    expected, shared = brute_force(queries, documents)
    found, together = maths.term_match(queries, documents)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(together, shared)
    pairs = np.argwhere(np.ones_like(shared))[::-1]
    np.testing.assert_allclose(
        maths.term_match_pairs(queries, documents, pairs), expected[tuple(pairs.T)], atol=1e-6
    )
    assert found.dtype == np.float32 and maths.term_match_pairs(
        queries, documents, pairs[:0]
    ).shape == (0,)
    nothing = TermVectors(
        np.empty(0, np.int32), np.empty((0, WIDTH), np.float16), np.zeros(3, np.int64)
    )
    assert not maths.term_match_pairs(queries, nothing, np.array([[0, 1], [3, 0]])).any()
    assert not maths.term_match(queries, nothing)[1].any()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_store(world, size):
    sources, _, (_, documents, _), _ = world
    blocks = list(sources.corpus.term_vector_blocks(size))
    assert [start for start, _ in blocks] == list(
        np.cumsum([0] + [len(block) for _, block in blocks[:-1]])
    )
    np.testing.assert_array_equal(
        np.concatenate([block.terms for _, block in blocks]), documents.terms
    )
    np.testing.assert_array_equal(
        np.concatenate([block.vectors for _, block in blocks]), documents.vectors
    )
    rows = np.array([0, 3, 74, 75, 120, 299])
    for found, row in zip(texts_of(sources.corpus.term_vectors(rows)), rows, strict=True):
        assert {t: v.tolist() for t, v in found.items()} == {
            t: v.tolist() for t, v in texts_of(documents)[row].items()
        }


def test_stores_without_term_vectors_are_named(tmp_path, world):
    sources, *_ = world
    sources.queries.plan.representations[:] = ["sparse"]
    with pytest.raises(UserError, match=r"has sparse, but term_vectors is needed"):
        term_vectors.exhaustive(sources, 5)


def test_through_the_stages(pipeline, tmp_path):
    """Both searches of a SparseEmbed checkpoint; each run's manifest says which it was."""
    folder = save_mlm(tmp_path / "checkpoint", "bert", METADATA, width=8)
    done = pipeline(
        "encoder=sparse_embed",
        "encoder.name=se",
        f"encoder.checkpoint={folder}",
        "retriever=[sparse,term_vectors,term_vectors_exhaustive]",
        "runtime.shard_size=25",
    )
    assert done.name == "se" and sorted(path.name for path in (done / "stores").iterdir()) == [
        "corpus-sw",
        "queries-sw",
    ]
    runs = {
        name: done / "runs" / name / "sw" for name in ("term_vectors", "term_vectors_exhaustive")
    }
    settings = {
        name: json.loads(path.with_suffix(".json").read_text())["settings"]
        for name, path in runs.items()
    }
    assert (
        settings["term_vectors"]["_target_"].endswith("two_stage")
        and settings["term_vectors"]["k_candidates"] == 1000
    )
    assert settings["term_vectors_exhaustive"]["_target_"].endswith("exhaustive")
    two_stage, exhaustive = (read_run(path.with_suffix(".trec")) for path in runs.values())
    for qid, ranking in two_stage.items():
        assert ranking.docids == exhaustive[qid].docids and len(ranking.docids) > 10
