"""Sparse retrieval: exact lexical scores by a sparse matrix product over blocks of the memory-mapped store."""

from __future__ import annotations

import numpy as np

from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources

QUERIES = 64  # multiplied at once; bounds the product


def search(sources: Sources, depth: int) -> Run:
    """Scores every passage that shares a token with a query; others are not retrieved.

    Memory holds one block of passages, the product with 64 queries, and the best `depth` (with ties) per query.
    """
    sources.corpus.require("sparse")
    sources.queries.require("sparse")
    n = len(sources.queries)
    queries = sources.queries.sparse(np.arange(n))
    rows = [np.empty(0, np.int64)] * n
    scores = [np.empty(0, np.float32)] * n
    for start, block in sources.corpus.sparse_blocks(sources.search_block):
        terms = block.T.tocsr()
        for first in range(0, n, QUERIES):
            product = maths.lexical(queries[first : first + QUERIES], terms)
            for i, (low, high) in enumerate(zip(product.indptr[:-1], product.indptr[1:], strict=True), start=first):
                rows[i] = np.concatenate([rows[i], product.indices[low:high].astype(np.int64) + start])
                scores[i] = np.concatenate([scores[i], product.data[low:high]])
                if len(scores[i]) > depth:
                    keep = scores[i] >= np.partition(scores[i], -depth)[-depth]
                    rows[i], scores[i] = rows[i][keep], scores[i][keep]
    docids = sources.corpus.ids_of(np.concatenate(rows))
    return {
        qid: ranked([docids[row] for row in rows[i].tolist()], scores[i], depth) for i, qid in enumerate(sources.queries.ids)
    }
