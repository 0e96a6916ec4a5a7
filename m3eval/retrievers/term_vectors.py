"""Retrieval by terms with vectors (SparseEmbed): exact scores of the best candidates of another run, or of every document."""

from __future__ import annotations

import numpy as np

from m3eval.console import meter
from m3eval.encoders.representations import TermVectors
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources

AT_ONCE = 1024  # documents whose vectors are in memory: some 70 MB of 256 vectors of width 128


@retriever("terms with vectors, over candidates", "stores", stored=("term_vectors",))
def two_stage(sources: Sources, inputs: list[str], k_candidates: int, depth: int) -> Run:
    """Scores the first `k_candidates` documents of the run named in `inputs`; every distinct document is read once.

    Raises:
        UserError: the stores have no term vectors.
    """
    queries = _queries(sources)
    (candidates,) = inputs
    run = sources.run(candidates)
    qids = sources.queries.ids
    docids = [run[qid].docids[:k_candidates] for qid in qids]
    numbers = sources.corpus.rows_of(docid for ids in docids for docid in ids)
    pairs = np.array(
        [(q, numbers[docid]) for q, ids in enumerate(docids) for docid in ids], np.int64
    ).reshape(-1, 2)
    order = np.argsort(pairs[:, 1], kind="stable")  # by document
    rows = np.unique(pairs[:, 1])
    scores = np.empty(len(pairs), np.float32)
    with meter(f"term_vectors {sources.language}", len(rows), "documents") as progress:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            here = order[slice(*np.searchsorted(pairs[order, 1], [some[0], some[-1] + 1]))]
            of = np.stack([pairs[here, 0], np.searchsorted(some, pairs[here, 1])], axis=1)
            scores[here] = maths.term_match_pairs(queries, sources.corpus.term_vectors(some), of)
            progress.advance(len(some), len(some))
    by_query = np.split(scores, np.cumsum([len(ids) for ids in docids])[:-1])
    return {
        qid: ranked(ids, values, depth)
        for qid, ids, values in zip(qids, docids, by_query, strict=True)
    }


@retriever("terms with vectors, exhaustive", "stores", stored=("term_vectors",))
def exhaustive(sources: Sources, depth: int) -> Run:
    """Scores every document that shares a term with a query; others are not retrieved.

    Memory holds the queries, a block of documents, its scores and the best `depth` (with ties) per query.

    Raises:
        UserError: the stores have no term vectors.
    """
    queries = _queries(sources)
    rows = [np.empty(0, np.int64)] * len(queries)
    scores = [np.empty(0, np.float32)] * len(queries)
    with meter(f"term_vectors {sources.language}", len(sources.corpus), "documents") as progress:
        for start, block in sources.corpus.term_vector_blocks(
            min(AT_ONCE, sources.runtime.search_block)
        ):
            found, shared = maths.term_match(queries, block)
            for q in range(len(queries)):
                there = np.flatnonzero(shared[q])
                rows[q] = np.concatenate([rows[q], there + start])
                scores[q] = np.concatenate([scores[q], found[q, there]])
                if len(scores[q]) > depth:
                    keep = scores[q] >= np.partition(scores[q], -depth)[-depth]
                    rows[q], scores[q] = rows[q][keep], scores[q][keep]
            progress.advance(len(block), len(block))
    docids = sources.corpus.ids_of(np.concatenate(rows))
    return {
        qid: ranked([docids[row] for row in rows[q].tolist()], scores[q], depth)
        for q, qid in enumerate(sources.queries.ids)
    }


def _queries(sources: Sources) -> TermVectors:
    sources.corpus.require("term_vectors")
    sources.queries.require("term_vectors")
    return sources.queries.term_vectors(np.arange(len(sources.queries)))
