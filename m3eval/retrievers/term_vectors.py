"""Retrieval by terms with vectors, as SparseEmbed does it.

Scores are exact: of the candidates of another run, or of every document.
"""

from __future__ import annotations

import numpy as np

from m3eval.console import meter
from m3eval.encoders.representations import TermVectors
from m3eval.kinds import Count
from m3eval.retrievers import scores as maths
from m3eval.retrievers.candidates import Candidates
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources

# Documents whose vectors are in memory: some 70 MB of 256 vectors of width 128.
DOCUMENTS_AT_ONCE = 1024


@retriever("terms with vectors, over candidates", "stores", stored=("term_vectors",))
def two_stage(sources: Sources, inputs: list[str], k_candidates: Count, depth: Count) -> Run:
    """Scores the first `k_candidates` documents of the run named in `inputs`.

    Every distinct document is read once.

    Raises:
        UserError: the stores have no term vectors.
    """
    queries = _query_vectors(sources)
    (first_stage,) = inputs
    candidates = Candidates(
        sources.run(first_stage), sources.queries.ids, k_candidates, sources.corpus.rows_of
    )
    rows, scores = candidates.pairs.rows, np.empty(len(candidates), np.float32)
    with meter(f"term_vectors {sources.language}", len(rows), "documents") as progress:
        for start in range(0, len(rows), DOCUMENTS_AT_ONCE):
            part = rows[start : start + DOCUMENTS_AT_ONCE]
            positions, pairs = candidates.pairs.about(part)
            documents = sources.corpus.term_vectors(part)
            scores[positions] = maths.term_match_pairs(queries, documents, pairs)
            progress.advance(len(part), len(part))
    return candidates.run(scores, depth)


@retriever(
    "terms with vectors, exhaustive",
    "stores",
    stored=("term_vectors",),
    partitioned=lambda _: True,
)
def exhaustive(sources: Sources, depth: Count) -> Run:
    """Scores every document that shares a term with a query; others are not retrieved.

    Memory holds the queries, a block of documents, its scores and the best `depth` (with ties) of
    each query.

    Raises:
        UserError: the stores have no term vectors.
    """
    queries = _query_vectors(sources)
    rows = [np.empty(0, np.int64)] * len(queries)
    scores = [np.empty(0, np.float32)] * len(queries)
    size = min(DOCUMENTS_AT_ONCE, sources.runtime.search_block)
    corpus = sources.searched
    total = sum(map(len, corpus.searched_rows))
    with meter(f"term_vectors {sources.language}", total, "documents") as progress:
        for start, block in corpus.term_vector_blocks(size):
            of_block, shared = maths.term_match(queries, block)  # [q, p], [q, p]
            for q in range(len(queries)):
                matching = np.flatnonzero(shared[q])
                rows[q] = np.concatenate([rows[q], matching + start])
                scores[q] = np.concatenate([scores[q], of_block[q, matching]])
                if len(scores[q]) > depth:
                    best = scores[q] >= np.partition(scores[q], -depth)[-depth]
                    rows[q], scores[q] = rows[q][best], scores[q][best]
            progress.advance(len(block), len(block))
    docids = corpus.ids_of(np.concatenate(rows))
    return {
        qid: ranked([docids[row] for row in rows[q].tolist()], scores[q], depth)
        for q, qid in enumerate(sources.queries.ids)
    }


def _query_vectors(sources: Sources) -> TermVectors:
    sources.searched.require("term_vectors")
    sources.queries.require("term_vectors")
    return sources.queries.term_vectors(np.arange(len(sources.queries)))
