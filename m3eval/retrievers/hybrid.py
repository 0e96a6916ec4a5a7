"""Hybrid retrieval: weighted sums of raw scores (M3 paper, section 4; weights and depths in conf/benchmark)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m3eval.errors import UserError
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Ranking, Run, ranked
from m3eval.retrievers.sources import Sources


@retriever("a weighted sum over the union of runs")
def union(sources: Sources, inputs: list[str], weights: dict[str, float], depth: int) -> Run:
    """Weighted sum over all documents that any of the runs `inputs` has; where a run lacks a document it adds 0.

    Raises:
        UserError: weights and inputs name different runs.
    """
    if set(weights) != set(inputs):
        raise UserError(
            f"A hybrid of {sorted(inputs)} needs a weight for each and no other, got weights for {sorted(weights)}."
        )
    runs = {name: sources.run(name) for name in inputs}
    fused = {}
    for qid in runs[inputs[0]]:  # every run has every query
        docids, parts = united(runs, qid)
        fused[qid] = ranked(docids, maths.weighted_sum(parts, weights), depth, parts)
    return fused


def united(runs: Mapping[str, Run], qid: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The n documents that any run has for a query, and by run their [n] float32 scores, 0 where it lacks one."""
    found = {
        name: dict(zip(run[qid].docids, run[qid].scores, strict=True)) for name, run in runs.items()
    }
    docids = list(dict.fromkeys(docid for scores in found.values() for docid in scores))
    return docids, {
        name: np.array([scores.get(docid, 0) for docid in docids], np.float32)
        for name, scores in found.items()
    }


@retriever(
    "a weighted sum over candidates",
    "stores",
    stored=("dense", "sparse", "multi_vector"),
)
def rescore(sources: Sources, inputs: list[str], weights: dict[str, float], depth: int) -> Run:
    """Weighted sum of dense, sparse and multi-vector scores over the documents of the multi-vector run.

    Unlike in `union` every score is the true one: dense and multi-vector scores come from the runs named in `inputs`,
    lexical scores are computed for each pair from the stores.
    """
    if set(inputs) != {"dense", "multi_vector"} or set(weights) != {
        "dense",
        "sparse",
        "multi_vector",
    }:
        raise UserError(
            f"retriever all sums dense, sparse and multi_vector over the runs dense and multi_vector; got weights for "
            f"{sorted(weights)} and runs {sorted(inputs)}."
        )
    sources.corpus.require("sparse")
    sources.queries.require("sparse")
    runs = {name: sources.run(name) for name in inputs}
    queries = sources.queries.sparse(np.arange(len(sources.queries)))
    numbers = sources.corpus.rows_of(
        docid for ranking in runs["multi_vector"].values() for docid in ranking.docids
    )
    fused = {}
    for i, qid in enumerate(sources.queries.ids):
        candidates: Ranking = runs["multi_vector"][qid]
        if not candidates.docids:
            fused[qid] = candidates
            continue
        documents = sources.corpus.sparse(np.array([numbers[docid] for docid in candidates.docids]))
        by_docid = dict(zip(runs["dense"][qid].docids, runs["dense"][qid].scores, strict=True))
        parts = {
            "dense": np.array([by_docid[docid] for docid in candidates.docids], np.float32),
            "sparse": maths.lexical_pairs(queries[np.full(documents.shape[0], i)], documents),
            "multi_vector": candidates.scores,
        }
        fused[qid] = ranked(candidates.docids, maths.weighted_sum(parts, weights), depth, parts)
    return fused
