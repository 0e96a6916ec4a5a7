"""Hybrid retrieval: weighted sums of raw scores.

See section 4 of the M3 paper; weights and depths are in conf/benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m3eval.errors import UserError
from m3eval.kinds import Count, Weights
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources


@retriever("a weighted sum over the union of runs")
def union(sources: Sources, inputs: list[str], weights: Weights, depth: Count) -> Run:
    """Weighted sum over all documents that any of the runs `inputs` has.

    Where a run lacks a document it adds 0.

    Raises:
        UserError: weights and inputs name different runs.
    """
    if set(weights) != set(inputs):
        raise UserError(
            f"A hybrid of {sorted(inputs)} needs a weight for each and no other, got weights for "
            f"{sorted(weights)}."
        )
    runs = {name: sources.run(name) for name in inputs}
    fused = {}
    for qid in runs[inputs[0]]:  # every run has every query
        docids, parts = united(runs, qid)
        fused[qid] = ranked(docids, maths.weighted_sum(parts, weights), depth, parts)
    return fused


def united(runs: Mapping[str, Run], qid: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The documents that any run has for a query, and their scores.

    Returns:
        n docids; and by the name of a run their [n] float32 scores, 0 where it lacks a document.
    """
    scores_of = {
        name: dict(zip(run[qid].docids, run[qid].scores, strict=True)) for name, run in runs.items()
    }
    docids = list(dict.fromkeys(docid for scores in scores_of.values() for docid in scores))
    return docids, {
        name: np.array([scores.get(docid, 0) for docid in docids], np.float32)
        for name, scores in scores_of.items()
    }


@retriever("a weighted sum over candidates", "stores", stored=("sparse",))
def rescore(sources: Sources, inputs: list[str], weights: Weights, depth: Count) -> Run:
    """Weighted sum of dense, sparse and multi-vector scores of the multi-vector run's documents.

    Unlike in `union` every score is the true one: dense and multi-vector scores come from the runs
    named in `inputs`, lexical scores are computed for each pair from the stores.

    Raises:
        UserError: inputs or weights are not those, or the stores have no sparse representation.
    """
    parts = {"dense", "sparse", "multi_vector"}
    if set(inputs) != {"dense", "multi_vector"} or set(weights) != parts:
        raise UserError(
            "retriever all sums dense, sparse and multi_vector over the runs dense and "
            f"multi_vector; got weights for {sorted(weights)} and runs {sorted(inputs)}."
        )
    sources.corpus.require("sparse")
    sources.queries.require("sparse")
    dense, multi_vector = sources.run("dense"), sources.run("multi_vector")
    queries = sources.queries.sparse(np.arange(len(sources.queries)))
    rows = sources.corpus.rows_of(
        docid for ranking in multi_vector.values() for docid in ranking.docids
    )
    fused = {}
    for i, qid in enumerate(sources.queries.ids):
        candidates = multi_vector[qid]
        if not candidates.docids:
            fused[qid] = candidates
            continue
        documents = sources.corpus.sparse(np.array([rows[docid] for docid in candidates.docids]))
        dense_of = dict(zip(dense[qid].docids, dense[qid].scores, strict=True))
        scores = {
            "dense": np.array([dense_of[docid] for docid in candidates.docids], np.float32),
            "sparse": maths.lexical_pairs(queries[np.full(documents.shape[0], i)], documents),
            "multi_vector": candidates.scores,
        }
        total = maths.weighted_sum(scores, weights)
        fused[qid] = ranked(candidates.docids, total, depth, scores)
    return fused
